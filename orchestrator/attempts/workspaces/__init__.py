"""Workspaces: where items work apart from each other, what they changed there, and how that is brought home.

Here it is decided which workspace an item has and what landing it means; the worker makes it, beside the agent. Landing merges
one item at a time, and one that was killed is taken back by the next. The user's own files are touched by landing alone.
"""
