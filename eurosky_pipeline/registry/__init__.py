"""What is known about every migration, and kept: states, progress, leases, ledger, encrypted credentials.

Belongs here: the tables, their schema upgrades, and every change of a row. Does not: what a migration does.
"""
