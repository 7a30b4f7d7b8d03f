"""What people and programs see of a run while it is supervised: the happenings, and the listeners that show them.

A view hears a happening and returns at once. It reads no state of the run, so what it shows is what it was told. Nothing here
ends or delays a run: an exception or a closed pipe silences the view, and the run goes on.
"""
