"""The items of a job: listing, labels, merging an edited list into a recorded one, the part of a run that is selected.

An item list is made once, written durably before its first item starts, and never evaluated again. Which items a selection
means depends on patterns, counts and labels alone, so a resume chooses the same ones.
"""
