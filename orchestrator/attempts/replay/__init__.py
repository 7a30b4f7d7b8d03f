"""Capsules: what the agents of a run wrote, in an archive, and runs that have it played instead of agents."""
