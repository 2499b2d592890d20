"""A list of accounts that an operator hands in: from the bytes of a file to offers that the registry can take.

Belongs here: reading CSV and JSON Lines within bounds, judging each row by itself, looking its account up. Does not:
the command, its options and what it prints (`cli`), and the rows of the database (`registry`).
"""
