"""The wire: XRPC over HTTP to one host at a time.

Belongs here: requests, sessions, endpoints as typed functions, the one mapping from answers to errors, how fast a host
is asked and how often again, and which hosts may be spoken to at all. Does not: what a migration does with the answers.
"""
