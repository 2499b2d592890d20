"""What can be known before anything moves, and of this installation as it stands: looked at, and never changed.

Belongs here: a migration's checks (`check`), and what `eurosky doctor` finds out without Dagster (`doctor`). Does not:
how either is shown, and anything that would mend, make or move something.
"""
