"""The worker side: everything that runs beside an agent process. Imports nothing of `orchestrator`."""
