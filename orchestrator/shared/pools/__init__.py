"""Pools: named sets of slots and rates of starts that all runs of this user on this machine share.

A slot is a lock file with a number; a run that knows a smaller pool locks the smaller numbers. A rate is one log of starts for
each pool. A try never blocks, and a slot that was taken is handed on with its descriptor.
"""
