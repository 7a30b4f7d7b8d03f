"""This process and the machine below it: signals, descriptors, side threads, locks, the log, redaction, words for people.

Every file is about the operating system or about text, and would serve another program as well. Nothing here knows what a run,
a job or an attempt is, and nothing here decides when something happens.
"""
