"""What one attempt is. On the way in: the names that templates see, the rendered work, the message for a worker.

On the way out: what an outcome means for its item. It reads the run's records and the user's files. Nothing here waits, holds a
lock, starts a process or writes a record.
"""
