"""The agent's process and all that it starts: spawning, watching, ending a tree, telling one process from another.

A process is known by its id and its start ticks together, or by the mark in its environment, so a reused id is never signalled.
What an attempt leaves behind is ended with it. Nothing here reads what the process wrote.
"""
