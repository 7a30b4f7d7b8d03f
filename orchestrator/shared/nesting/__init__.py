"""Nesting: a run that an item of another run starts, the slots that it borrows of that item, and the depth that bounds it.

A nested run borrows what its ancestors hold, one nested item at a time, and takes more only where more is free. So a run with
one slot finishes, however deep it nests. Nothing here starts a run or waits for one.
"""
