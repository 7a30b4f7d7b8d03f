"""The state of a run on disk: records, the journal and its checkpoint, item lists, outputs, the supervisor's lock.

A record is appended by the one holder of the run's lock, and is never changed. Each function says what its write survives:
SIGKILL, or power loss. Readers take no lock. Nothing here decides what is recorded, or what a run does next.
"""
