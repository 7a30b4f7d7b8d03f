"""What agents cost: of an attempt, an item, a run and all runs; which budget holds; what the rest of a run may cost.

Money is counted in whole billionths of a dollar, and an unknown cost is counted apart, never as zero. Nothing here bounds a run:
the core does that (`core/budget`), from the figures that are worked out here.
"""
