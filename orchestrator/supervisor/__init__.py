"""One run while a process holds its lock.

The loop waits, asks the core and carries out; every other file is one part of that, made once and given the same run. A part
never starts a process (that is the engines'), never decides (the core's), and never writes a record but through the recorder.
"""
