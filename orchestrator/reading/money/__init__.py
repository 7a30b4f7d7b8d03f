"""What agents cost: of an attempt, of an item, of a run, of all runs; and what the rest of a run is likely to cost."""
