"""What is asked of a living supervisor, and how: the messages, the socket in the run's folder, the client's side of it.

Only the owner of the run may connect. A request is one message and gets one reply. Nothing here carries a request out: that is
the supervisor's, which answers between two turns of its loop.
"""
