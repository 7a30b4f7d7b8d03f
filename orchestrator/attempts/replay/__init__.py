"""Capsules: what the agents of a run wrote, in an archive, and runs in which it is played in place of the agents.

An archive is made through the redaction of secrets, and is unpacked as hostile input. A replayed attempt goes the same way as a
real one: worker, stream reader, check, verdict. No agent is started in a replay.
"""
