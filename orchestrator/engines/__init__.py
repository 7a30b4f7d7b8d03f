"""Where attempts run: workers of this machine, or inline on a thread of the supervisor.

An engine takes an attempt and ends it exactly once, with an outcome or as lost with its process tree confirmed gone. Nothing
outside of this folder runs an attempt by a process id, a worker's folder or the descriptor of a lock: others import `engine`
(what one is), `choice` (which one a run has), `onlookers` and `orphans`. No call here waits for an attempt.
"""
