"""What is asked of a living supervisor, and how: the messages, the socket in the folder of the run, its client and its server.

Only the owner of the run may connect. A request is one message and gets one reply. Nothing here carries a request out: that is
the supervisor's, which answers between two turns of its loop.
"""
