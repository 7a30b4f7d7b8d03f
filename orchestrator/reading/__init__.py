"""A run read from its records without a lock: results, summaries, names of items, what it cost, what is new since the last look.

Commands that only read, templates that refer to other jobs and the library all stand on it. A large output is opened only where
its value is asked for. Nothing here writes to a run's folder, or asks its supervisor.
"""
