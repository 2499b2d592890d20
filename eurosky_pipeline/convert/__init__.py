"""From the exported CAR to the one that is imported: records changed by transforms, and everything that follows.

A record's CID is in its tree node, whose CID is in the node above, up to the commit; and it is in the strong references
of other records, whose CIDs change in their turn. Everything else is copied through, byte for byte.

    scan ─▶ reach ─▶ transforms prepare ─▶ fold ─▶ tree ─▶ commit ─▶ copy what stays
"""
