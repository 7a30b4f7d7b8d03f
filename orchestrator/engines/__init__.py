"""Where attempts run: workers of this machine, or inline on a thread of the supervisor.

An engine takes an attempt and ends it exactly once, with an outcome or as lost with its process tree confirmed gone. Outside
this folder nothing knows a process id, a worker's folder or the descriptor of a lock. No call here waits for an attempt.
"""
