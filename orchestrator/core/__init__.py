"""The rules: `(state, event, now) -> decisions`.

Order, bounds, retries, halts, gates, budgets and stops are decided here and nowhere else. A rule sees only the state and one
event, so every order of events can be tried without a process. Nothing here reads a clock, a file or an environment, starts
anything, or imports a module outside this folder.
"""
