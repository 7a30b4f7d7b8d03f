"""Pools: slots and rates that all runs of this user on this machine share."""
