"""The protocol core: bytes and streams in, values out.

Belongs here: syntax, varints, CIDs, DAG-CBOR, CAR files, the Merkle search tree, commits, keys and signatures, blob
references, and reading and verifying a repository made of them. Does not: anything that knows a network, a database or
Dagster. docs/protocol.md tells the tricky bits, and where each rule comes from.

Terminology. A *repository* is a signed *commit* that points at the root of a *Merkle search tree* (MST), whose leaves
map `collection/rkey` keys to *records*. All are DAG-CBOR *blocks* named by the SHA-256 of their bytes (a *CID*), and a
CAR file is a pile of blocks with the commit's CID in its header. Blobs (pictures, videos) are not in it: records name
them by CID.
"""
