"""From the exported CAR to the one that is imported.

For now it is passed on as it is, and said how many legacy blob references it holds.
"""
