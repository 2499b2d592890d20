"""Moving bytes from one server to the other: the repository out and in, the list of blobs, and the blobs.

Belongs here: streams, verification on the way, workers, what became of each blob. Does not: Dagster, which calls it,
and the judgement of the result, which is `reconcile`'s.
"""
