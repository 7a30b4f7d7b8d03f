"""How an agent's output becomes what it told: lines, events, failures, sessions, usage, the report in the outcome.

All of it goes by the reading of a profile, which came with the attempt; no agent is known by name. Bytes of an agent are never
trusted: an unknown one is not success. Nothing here signals a process: what should end is told to the watch.
"""
