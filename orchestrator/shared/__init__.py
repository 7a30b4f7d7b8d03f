"""What all runs of this user share, as files below HOME: pools, limits of accounts, tokens, the board of waits.

A holder holds a lock that dies with it, so what a killed run had is free again. Everything is taken by a try that returns at
once. Nothing here waits, and nothing here knows what the missing thing means for an item.
"""
