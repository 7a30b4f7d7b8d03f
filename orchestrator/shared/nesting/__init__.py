"""Nesting: a run that an item of another run starts, what it borrows of that, and what bounds it."""
