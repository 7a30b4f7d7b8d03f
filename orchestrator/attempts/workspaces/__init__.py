"""Where items work apart from each other, what they changed there, and how that is brought home."""
