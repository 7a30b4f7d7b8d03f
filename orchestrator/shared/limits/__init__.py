"""Usage limits of agents' accounts: what all runs of this user on this machine know of them."""
