"""The worker side: everything that runs beside an agent process.

A worker is the parent of one agent at a time. It runs it, watches it, reads it, and leaves the outcome in its own log before it
tells anybody, so it outlives its supervisor and loses nothing. It imports nothing of `orchestrator` and writes no state of a run.
"""
