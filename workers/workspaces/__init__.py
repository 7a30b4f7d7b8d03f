"""Workspaces on disk: a worktree or a copy is made, looked after, committed, packed into a patch, removed.

The record beside a workspace is written first, so a killed attempt is gone on with or begun anew. Git is called in one place.
Which workspace an item gets was decided before; nothing here decides it.
"""
