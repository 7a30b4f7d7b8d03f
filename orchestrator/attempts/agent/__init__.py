"""What an agent is told and what its answer is worth: command line, prompt, session, fallback, schema, what a lost one left.

Everything is worked out from the profile, the job and the records of earlier attempts. Nothing here knows an agent by name, and
nothing here reads a stream: the worker has done that, and its report stands in the outcome.
"""
