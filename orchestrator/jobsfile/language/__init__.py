"""The language of a jobs file below the level of jobs: TOML, durations and sizes, templates, quoting in shell text, problems.

Each module takes text and gives a value, a compiled template, or a mistake (`Problems`). Nothing here knows a key of a job, so
the same rules hold for every key, for profiles and for the user's configuration.
"""
