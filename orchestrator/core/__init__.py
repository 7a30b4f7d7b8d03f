"""The rules: `(state, event, now) -> decisions`, without clock, disk or process. Imports nothing of ours."""
