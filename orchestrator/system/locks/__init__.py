"""File locks: who holds one, any one of several numbered ones, locks that travel to another process with their descriptor.

The kernel frees a lock when its last holder dies, so a lock is never stale. A lock file is never removed, because a second
file of the same name would be a second lock. Nothing here waits: a lock is tried, and the answer is yes or no.
"""
