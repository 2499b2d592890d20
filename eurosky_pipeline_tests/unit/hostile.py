"""Files made to hurt their reader, by name, with what has to be found in them and what that may cost.

The limits of time and memory are several times what was seen (processor seconds, and MB in all, on one core of
2.1 GHz; where nothing is said it was no more than the interpreter and the imports take, 0.1 s and 20 MB): where one is
reached, work or memory follows something that a stranger chooses.
"""

import itertools
import struct
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import NamedTuple

from eurosky_pipeline.atproto import dag_cbor, mst
from eurosky_pipeline.atproto.car import MAX_BLOCK_BYTES, MAX_HEADER_BYTES
from eurosky_pipeline.atproto.cid import CODEC_DAG_CBOR, CODEC_RAW, Cid, cid_of
from eurosky_pipeline.atproto.mst_node import Entry, Node, encode_node, key_height
from eurosky_pipeline.atproto.varint import encode_varint
from eurosky_pipeline_tests.builders import DID, REV, Block, make_block, make_car, make_repo, make_repo_car

Pieces = Iterable[bytes]


class Hostile(NamedTuple):
    """A file in pieces, the kinds of problem in it (none: it is whole after all), and what judging it may cost."""

    pieces: Callable[[], Pieces]
    kinds: set[str]
    seconds: float = 2
    megabytes: float = 30


WHOLE: set[str] = set()
MILLION = 1_000_000
RECORD = make_block({})
EMPTY_NODE = make_repo({}).nodes[0]
EMPTY_REPO = make_repo_car({})


def block(data: bytes, codec: int = CODEC_DAG_CBOR) -> Block:
    return cid_of(data, codec), data


def section(block: tuple[bytes, bytes]) -> bytes:
    return encode_varint(len(block[0]) + len(block[1])) + block[0] + block[1]


def commit_to(tree: Cid, **fields: object) -> Block:
    return make_block({"did": DID, "version": 3, "data": tree, "rev": REV, "prev": None, "sig": bytes(64), **fields})


def under_commit(tree: Cid, *blocks: Block) -> Pieces:
    """A file whose commit is right and leads to this tree."""
    commit = commit_to(tree)
    yield make_car(commit[0], [commit])
    yield from map(section, blocks)


def under_root(*blocks: Block) -> Pieces:
    """A file whose header names the first of these blocks, whatever it is."""
    return [make_car(blocks[0][0], blocks)]


def beside_nothing(*pieces: bytes) -> Pieces:
    """A whole repository without a record, and these bytes behind it."""
    return [EMPTY_REPO, *pieces]


def with_header(data: bytes) -> Pieces:
    return [encode_varint(len(data)) + data]


def with_tree(node: bytes, *blocks: Block) -> Pieces:
    """A repository whose root node is these bytes."""
    return under_commit(cid_of(node), block(node), *blocks)


def with_records(records: Iterable[tuple[bytes, bytes]]) -> Pieces:
    """A whole repository but for what its records, by key, hold."""
    nodes: dict[Cid, bytes] = {}
    blocks = {key: block(data) for key, data in records}
    tree = mst.build(((key, cid) for key, (cid, _) in blocks.items()), nodes.__setitem__)
    return under_commit(tree, *nodes.items(), *dict(blocks.values()).items())


def with_record(data: bytes) -> Pieces:
    return with_records([(b"app.bsky.feed.post/self", data)])


def under_many_keys(data: bytes, count: int = 400) -> Pieces:
    """One record's block, which so many keys name."""
    return with_records((key, data) for key in some_keys(0, count))


def some_keys(height: int, count: int, beginning: bytes = b"app.bsky.feed.post/") -> list[bytes]:
    found = (key for n in itertools.count() if key_height(key := beginning + b"%07d" % n) == height)
    return list(itertools.islice(found, count))


def leaves(keys: Iterable[bytes], right: Cid | None = None) -> bytes:
    """A node with an entry for each key, as they come, and the same subtree behind each."""
    return encode_node(Node(None, tuple(Entry(key, RECORD[0], right) for key in keys)))


def array(count: int, unit: bytes) -> bytes:
    return b"\x9a" + struct.pack(">I", count) + unit * count


def filled(unit: bytes) -> bytes:
    """An array of as many of these as a block can hold, and a little less."""
    return array((MAX_BLOCK_BYTES - 50) // len(unit), unit)


def map_of(keys: Iterable[bytes]) -> bytes:
    rows = [key + b"\0" for key in keys]
    return b"\xba" + struct.pack(">I", len(rows)) + b"".join(rows)


def colliding_integers() -> Iterator[bytes]:
    """Their hashes in a dict are equal in the lower bits, or altogether."""
    for n in range(100_000):
        yield b"\x1b" + struct.pack(">Q", n * (2**61 - 1) % 2**64)
        yield b"\x1b" + struct.pack(">Q", n << 20)


def chained(count: int, end: Cid = EMPTY_NODE[0]) -> list[Block]:
    """Nodes without entries, each with nothing but the one before it below."""
    blocks: list[Block] = []
    for _ in range(count):
        blocks.append(block(encode_node(Node(end, ()))))
        end = blocks[-1][0]
    return blocks


def a_chain(height: int | None) -> Pieces:
    """300,000 nodes without an entry; under a key of this height, or alone."""
    chain = chained(300_000)
    if height is None:
        return under_commit(chain[-1][0], *chain)
    return with_tree(leaves(some_keys(height, 1), chain[-1][0]), RECORD, *reversed(chain))


def one_node_behind_many_keys(count: int, bridges: int = 0) -> Pieces:
    """A large node, below some without an entry, behind each key of another one: it can belong to one key only."""
    low = block(leaves(some_keys(0, count)))
    chain = [low, *chained(bridges, low[0])]
    return with_tree(leaves(some_keys(1 + bridges, count // 4**bridges), chain[-1][0]), RECORD, *chain)


def missing_records() -> Pieces:
    nodes: dict[Cid, bytes] = {}
    keys = [b"app.bsky.feed.post/%07d" % n for n in range(30_000)]
    return under_commit(mst.build(((key, cid_of(key)) for key in keys), nodes.__setitem__), *nodes.items())


def swapped_at_the_end() -> Pieces:
    *keys, one, other = some_keys(0, 30_000)
    return with_tree(leaves([*keys, other, one]), RECORD)


def node_like_blocks_between_bad_hashes() -> Iterator[bytes]:
    yield EMPTY_REPO
    for n in range(5):
        yield from (section(block(b"\xa2ae" + bytes([n, m]) + bytes(MAX_BLOCK_BYTES - 100))) for m in range(8))
        yield section((cid_of(b"something"), b"else"))


def maps_of_many_shapes() -> Iterator[bytes]:
    yield EMPTY_REPO
    pairs = ["".join(pair) for pair in itertools.product("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ", repeat=2)]
    random = Random(0)
    for size in [330] * 2_000 + [100] * 4_000:
        yield section(make_block(dict.fromkeys(random.sample(pairs, size), 0)))


_HEADERS = {
    "of 2 GB": Hostile(lambda: [encode_varint(2**31), bytes(100)], {"car"}),
    "of 2**63 - 1 bytes": Hostile(lambda: [encode_varint(2**63 - 1), bytes(100)], {"car"}),
    "whose length takes a million bytes": Hostile(lambda: [b"\x80" * MILLION], {"varint"}),
    "of 1,000 roots": Hostile(
        lambda: with_header(dag_cbor.encode({"roots": [RECORD[0]] * 1_000, "version": 1})), {"car"}
    ),
    "nested as deep as it can be": Hostile(lambda: with_header(b"\x81" * MAX_HEADER_BYTES), {"car"}),
    "nested 100,000 deep": Hostile(lambda: with_header(b"\x81" * 100_000), {"car"}),
    "of empty lists": Hostile(lambda: with_header(b"\x99\xff\xf0" + b"\x80" * 0xFFF0), {"car"}),
}
_BLOCKS = {
    "of 2 GB": Hostile(lambda: beside_nothing(encode_varint(2**31), bytes(MILLION)), {"car"}),
    "of 2**63 - 1 bytes": Hostile(lambda: beside_nothing(encode_varint(2**63 - 1), bytes(MILLION)), {"car"}),
    "whose length takes a million bytes": Hostile(lambda: beside_nothing(b"\xff" * MILLION), {"varint"}),
    "larger than the file": Hostile(lambda: beside_nothing(encode_varint(MAX_BLOCK_BYTES), bytes(MILLION)), {"car"}),
    "of no length, a million times": Hostile(lambda: beside_nothing(bytes(MILLION)), {"car"}),
    "of no data, a million times": Hostile(  # seen: 3.7 s, 20 MB
        lambda: beside_nothing(section(block(b"", CODEC_RAW)) * MILLION), WHOLE, 12
    ),
    "that is the empty node, a million times": Hostile(  # seen: 2.2 s, 20 MB
        lambda: beside_nothing(section(EMPTY_NODE) * MILLION), WHOLE, 12
    ),
    "that is the commit, a million times": Hostile(  # seen: 2.5 s, 20 MB
        lambda: beside_nothing(section(make_repo({}).commit) * MILLION), WHOLE, 12
    ),
    "of a few bytes, 300,000 others": Hostile(  # seen: 2.3 s, 61 MB
        lambda: beside_nothing(*(section(block(struct.pack(">I", n))) for n in range(300_000))), WHOLE, 10, 85
    ),
    "of a few bytes that begin as a node does, 300,000 others": Hostile(  # seen: 1.1 s, 71 MB
        lambda: beside_nothing(*(section(block(b"\xa2ae" + struct.pack(">I", n))) for n in range(300_000))),
        WHOLE,
        8,
        85,
    ),
    "that does not hash to its CID, 100,000 times": Hostile(  # seen: 2.4 s, 20 MB
        lambda: beside_nothing(section((cid_of(b"some"), b"other")) * 100_000), {"block_hash"}, 12
    ),
    "that begins as a node does, many between bad hashes": Hostile(  # seen: 0.2 s, 55 MB
        node_like_blocks_between_bad_hashes, {"block_hash"}, 5, 70
    ),
    "that nothing leads to, and no others": Hostile(
        lambda: [make_car(EMPTY_NODE[0], (make_block({"n": n}) for n in range(20_000)))], {"block_missing"}, 3
    ),
    "that is its own name, the identity being the hash": Hostile(
        lambda: beside_nothing(encode_varint(40) + b"\x01\x71\x00\x24" + bytes(36)), {"car"}
    ),
    "of a CID of codec dag-pb": Hostile(
        lambda: beside_nothing(section((b"\x01\x70\x12\x20" + cid_of(b"some").digest, b"some"))), {"car"}
    ),
}
_ROOTS = {
    "that is a record": Hostile(lambda: under_root(RECORD), {"commit"}),
    "that is a node": Hostile(lambda: under_root(EMPTY_NODE), {"commit"}),
    "that is raw": Hostile(lambda: under_root(block(b"x", CODEC_RAW)), {"car"}),
    "that is nested 100,000 deep": Hostile(lambda: under_root(block(b"\x81" * 100_000 + b"\0")), {"dag_cbor"}),
    "with a signature of 2 MB": Hostile(
        lambda: under_root(commit_to(EMPTY_NODE[0], sig=bytes(2 * MILLION)), EMPTY_NODE), WHOLE, 2, 50
    ),
}
_TREES = {
    "that is a record": Hostile(lambda: under_commit(RECORD[0], RECORD), {"mst"}),
    "of 300,000 empty nodes": Hostile(lambda: a_chain(None), {"mst"}, 8, 85),  # seen: 0.9 s, 70 MB
    "of 300,000 empty nodes under a key": Hostile(lambda: a_chain(3), {"mst"}, 8, 85),  # seen: 1.2 s, 70 MB
    "nested 100,000 deep": Hostile(lambda: with_tree(b"\xa2ae" + b"\x81" * 100_000 + b"\0al\xf6"), {"dag_cbor"}),
    "full of empty lists": Hostile(  # seen: 3.0 s, 351 MB
        lambda: with_tree(b"\xa2ae" + filled(b"\x80") + b"al\xf6"), {"mst"}, 20, 420
    ),
    "that claims 2**60 entries": Hostile(
        lambda: with_tree(b"\xa2ae" + dag_cbor.head(4, 2**60) + b"al\xf6"), {"dag_cbor"}
    ),
    "that claims 2**32 entries": Hostile(
        lambda: with_tree(b"\xa2ae" + dag_cbor.head(4, 2**32) + b"al\xf6"), {"dag_cbor"}
    ),
    "of 30,000 keys, the last two out of order": Hostile(swapped_at_the_end, {"mst"}, 5, 50),  # seen: 0.5 s, 37 MB
    "of 30,000 keys of 522 bytes that share 519": Hostile(  # seen: 0.3 s, 42 MB
        lambda: with_tree(leaves(some_keys(0, 30_000, b"app.bsky.feed.post/" + b"x" * 496)), RECORD), WHOLE, 5, 60
    ),
    "that lacks its only leaf": Hostile(lambda: with_tree(leaves(some_keys(0, 1))), {"block_missing"}),
    "that lacks all of its 30,000 leaves": Hostile(missing_records, {"block_missing"}, 6, 50),  # seen: 1.0 s
    "with one large node behind each of 2,000 keys": Hostile(lambda: one_node_behind_many_keys(2_000), {"mst"}),
    "with one large node, far below, behind each of 500 keys": Hostile(
        lambda: one_node_behind_many_keys(8_000, bridges=2), {"mst"}, 3, 45
    ),
    "of 30,000 keys that are no paths": Hostile(  # seen: 0.6 s
        lambda: with_records((b"post/%07d" % n, RECORD[1]) for n in range(30_000)), {"repo"}, 4, 50
    ),
    "of 60,000 keys of one record": Hostile(  # seen: 0.9 s
        lambda: with_records((b"app.bsky.feed.post/%07d" % n, RECORD[1]) for n in range(60_000)), WHOLE, 5, 65
    ),
}
_RECORDS = {
    "nested 100,000 deep": Hostile(lambda: with_record(b"\xa1\x61a" + b"\x81" * 100_000 + b"\0"), {"dag_cbor"}),
    "of maps nested 100,000 deep": Hostile(lambda: with_record(b"\xa1\x61a" * 100_000 + b"\0"), {"dag_cbor"}),
    "with a list that claims 2**60 items": Hostile(lambda: with_record(b"\xa1\x61a\x9b\x10" + bytes(7)), {"dag_cbor"}),
    "of 200 lists that claim 2**31 items each": Hostile(
        lambda: with_record(b"\xa1\x61a" + b"\x9a\x80\0\0\0" * 200), {"dag_cbor"}
    ),
    "with a text that claims 2**62 bytes": Hostile(
        lambda: with_record(b"\xa1\x61a\x7b\x40" + bytes(1_000)), {"dag_cbor"}
    ),
    "full of empty lists": Hostile(  # seen: 3.0 s, 351 MB
        lambda: with_record(b"\xa1\x61a" + filled(b"\x80")), WHOLE, 20, 420
    ),
    "full of empty maps": Hostile(  # seen: 2.2 s, 351 MB
        lambda: with_record(b"\xa1\x61a" + filled(b"\xa0")), WHOLE, 20, 420
    ),
    "full of lists in maps in lists": Hostile(  # seen: 3.7 s, 416 MB
        lambda: with_record(b"\xa1\x61a" + filled(b"\x81\xa1\x60\xa0")), WHOLE, 20, 500
    ),
    "full of empty lists, and no map, under 200 keys": Hostile(  # seen: 5.0 s, 336 MB
        lambda: under_many_keys(filled(b"\x80"), 200), {"repo"}, 25, 420
    ),
    "of 200,000 keys": Hostile(  # seen: 0.3 s, 45 MB
        lambda: with_record(map_of(b"\x66%06d" % n for n in range(200_000))), WHOLE, 5, 65
    ),
    "of 200,000 keys, the last two out of order": Hostile(  # seen: 0.4 s, 47 MB
        lambda: with_record(map_of(b"\x66%06d" % n for n in [*range(199_998), 199_999, 199_998])), {"dag_cbor"}, 5, 65
    ),
    "of 400,000 times the same key": Hostile(lambda: with_record(map_of([b"\x61a"] * 400_000)), {"dag_cbor"}, 2, 50),
    "of integer keys that collide": Hostile(lambda: with_record(map_of(colliding_integers())), {"dag_cbor"}, 2, 50),
    "of lists for keys": Hostile(
        lambda: with_record(map_of(b"\x81\x1b" + struct.pack(">Q", n) for n in range(180_000))), {"dag_cbor"}, 2, 50
    ),
    "of half floats for keys": Hostile(
        lambda: with_record(map_of(b"\xf9" + struct.pack(">H", n) for n in range(60_000))), {"dag_cbor"}, 2, 50
    ),
    "of one key of 2 MB, 40 times": Hostile(  # seen: 0.4 s
        lambda: beside_nothing(*(section(make_block({"k" * 2 * MILLION: n})) for n in range(40))), WHOLE, 3, 60
    ),
    "of keys that no other has, 6,000 times": Hostile(maps_of_many_shapes, WHOLE, 6, 50),  # seen: 1.1 s
    "that begins as a node does, a large one under 400 keys": Hostile(  # seen: 0.3 s
        lambda: under_many_keys(b"\xa2ae" + array(300_000, b"\x80") + b"az\0"), WHOLE, 3, 70
    ),
    "that is not canonical, a large one under 400 keys": Hostile(  # seen: 0.5 s
        lambda: under_many_keys(b"\xa2aa" + array(300_000, b"\x80") + b"ab\x18\0"), {"dag_cbor", "repo"}, 3, 70
    ),
    "that is no map, 50 large ones": Hostile(  # seen: 2.4 s
        lambda: with_records(
            (key, b"\x82" + array(70_000, b"\x80") + b"\x18" + bytes([n + 24]))
            for n, key in enumerate(some_keys(0, 50))
        ),
        {"repo"},
        10,
        50,
    ),
}

HOSTILE: dict[str, Hostile] = {
    **{f"a header {name}": case for name, case in _HEADERS.items()},
    **{f"a block {name}": case for name, case in _BLOCKS.items()},
    **{f"a root {name}": case for name, case in _ROOTS.items()},
    **{f"a tree {name}": case for name, case in _TREES.items()},
    **{f"a record {name}": case for name, case in _RECORDS.items()},
}
