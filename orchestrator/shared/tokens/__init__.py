"""Tokens: the same work is done once, in this run and in every other run of this home.

A token is a lock, which is held as long as the agent lives, and a record, which survives a kill (decision 4). The judge of what
a token means for an item is pure (`core/tokens`); the facts are found, and its verdict is carried out, here. A waiter holds
nothing.
"""
