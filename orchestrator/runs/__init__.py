"""What commands and programs do with whole runs: start, resume, retry, update, and the library's calls for the same.

Here it is found out which run is meant, its lock is taken, and a session of the supervisor is opened on it. Nothing here runs an
item or shows anything; a caller brings its own view.
"""
