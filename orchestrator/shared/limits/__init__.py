"""Usage limits of agents' accounts: until when an account is parked, which attempt told so, which one tries when it is over.

One small locked file for each account, read by every run of this user. A limit belongs to an account, not to a run (decision 7).
Nothing here sleeps: an item that needs a parked account waits in the core and holds nothing.
"""
