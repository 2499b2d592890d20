"""Repositories with one thing wrong each, made on purpose; everything else about them is right, the signature too.

`DAMAGES` has them by name. A tree, a commit or a record that is damaged is hashed, linked and signed anew, so that
nothing but the damage can be the reason why somebody refuses the file.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from eurosky_pipeline.atproto import dag_cbor, mst
from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.atproto.commit import encode_commit, parse_commit, sign
from eurosky_pipeline.atproto.keys import Curve, SigningKey, signing_key_of
from eurosky_pipeline.atproto.varint import encode_varint
from eurosky_pipeline_tests.builders import DID, REV, Block, BuiltRepo, make_block, make_car, make_posts, make_repo

KEY = signing_key_of(Curve.K256, bytes(31) + b"\x07")
OTHER_KEY = signing_key_of(Curve.K256, bytes(31) + b"\x08")
_K256_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141


def signed(repo: BuiltRepo, key: SigningKey = KEY) -> BuiltRepo:
    """The repository under a commit that `key` has signed."""
    data = encode_commit(sign(parse_commit(repo.commit[1]), key))
    return replace(repo, commit=(cid_of(data), data))


GOOD = signed(make_repo({key: value for key, value in make_posts(60).items() if mst.key_height(key.encode()) <= 2}))
"""What is damaged: a repository whose tree has three heights, and some keys at the highest."""

FILE = make_car(GOOD.root, GOOD.blocks)
_COMMIT = {"did": DID, "version": 3, "data": GOOD.nodes[-1][0], "rev": REV, "prev": None}
_LAST_RECORD = next(reversed(GOOD.records.values()))

Leaf = tuple[bytes, Cid, Cid | None]
"""Key, record, and the subtree behind it."""


def _length_prefixed(data: bytes) -> bytes:
    return encode_varint(len(data)) + data


def _with_header(header: dict[str, Any]) -> bytes:
    blocks = b"".join(_length_prefixed(cid + data) for cid, data in GOOD.blocks)
    return _length_prefixed(dag_cbor.encode(header)) + blocks


def _without(missing: Block) -> bytes:
    return make_car(GOOD.root, [block for block in GOOD.blocks if block != missing])


def _with_last_record_as(data: bytes) -> bytes:
    """The last record's block as it stands, under its old CID."""
    return make_car(GOOD.root, [*GOOD.blocks[:-1], (_LAST_RECORD[0], data)])


def _with_flipped_bit(data: bytes, bit: int) -> bytes:
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def _with_long_length() -> bytes:
    head, (cid, data) = make_car(GOOD.root, GOOD.blocks[:-1]), GOOD.blocks[-1]
    length = encode_varint(len(cid) + len(data))
    return head + length[:-1] + bytes([length[-1] | 0x80, 0]) + cid + data


def _with_commit(change: Mapping[str, Any], *, without: str = "", sig: bytes | None = None) -> bytes:
    fields = {name: value for name, value in {**_COMMIT, **change}.items() if name != without}
    data = dag_cbor.encode({**fields, "sig": KEY.sign(dag_cbor.encode(fields)) if sig is None else sig})
    return make_car(cid_of(data), [(cid_of(data), data), *GOOD.blocks[1:]])


def _good_sig() -> bytes:
    return parse_commit(GOOD.commit[1]).sig


def _high_s(sig: bytes) -> bytes:
    return sig[:32] + (_K256_ORDER - int.from_bytes(sig[32:], "big")).to_bytes(32, "big")


def _node(left: Cid | None, leaves: Iterable[Leaf]) -> dict[str, Any]:
    """A node's value, its keys prefix-compressed, in the order in which they come."""
    rows, previous = [], b""
    for key, value, right in leaves:
        shared = next(
            (n for n, pair in enumerate(zip(previous, key, strict=False)) if pair[0] != pair[1]), len(previous)
        )
        rows.append({"p": shared, "k": key[shared:], "v": value, "t": right})
        previous = key
    return {"l": left, "e": rows}


def _root_node() -> tuple[Cid, list[Leaf]]:
    """The root node of what is damaged: what it has on the left, and its leaves."""
    value, leaves, previous = dag_cbor.decode(GOOD.nodes[-1][1]), [], b""
    for entry in value["e"]:
        previous = previous[: entry["p"]] + entry["k"]
        leaves.append((previous, entry["v"], entry["t"]))
    assert len(leaves) > 2
    assert value["l"] is not None
    assert all(right is not None for *_, right in leaves)
    return value["l"], leaves


_LEFT, _LEAVES = _root_node()
_FIRST, _SECOND, *_OTHERS = _LEAVES
_ROOT_NODE = _node(_LEFT, _LEAVES)
_LEFT_BLOCK = (_LEFT, dict(GOOD.nodes)[_LEFT])


def _alone(leaf: Leaf) -> Leaf:
    """Without its subtree."""
    return (*leaf[:2], None)


def _raw(block: Block) -> Block:
    """The same bytes, named as if they were no DAG-CBOR."""
    return cid_of(block[1], CODEC_RAW), block[1]


def _with_root_node(node: Any, *others: Block) -> bytes:
    """Under a tree whose root node is this value, or these bytes; what it links to is all there."""
    data = node if isinstance(node, bytes) else dag_cbor.encode(node)
    car = _with_commit({"data": cid_of(data)})
    return car + b"".join(_length_prefixed(cid + block) for cid, block in [(cid_of(data), data), *others])


def _with_first_entry(without: str = "", **fields: Any) -> bytes:
    entries = [dict(entry) for entry in _ROOT_NODE["e"]]
    entries[0] = {name: value for name, value in (entries[0] | fields).items() if name != without}
    return _with_root_node({"l": _LEFT, "e": entries})


def _with_prefix_written_out() -> bytes:
    entries = [dict(entry) for entry in _ROOT_NODE["e"]]
    entries[1] |= {"p": 0, "k": _SECOND[0]}
    return _with_root_node({"l": _LEFT, "e": entries})


def _one_leaf(key: bytes, *, value: Cid = _LAST_RECORD[0], shared: int = 0) -> bytes:
    """A tree of one node with one leaf: right but for the key, or the link."""
    return _with_root_node({"l": None, "e": [{"p": shared, "k": key, "v": value, "t": None}]})


def _with_subtree(child: Mapping[str, Any]) -> bytes:
    """With this node in place of the root's left subtree."""
    block = make_block(child)
    return _with_root_node(_node(block[0], _LEAVES), block)


def _left_grandchild() -> Cid:
    grandchild = dag_cbor.decode(_LEFT_BLOCK[1])["l"]
    assert grandchild is not None
    return grandchild


def _with_record(data: bytes) -> bytes:
    """A repository of one record, which is these bytes, in whatever encoding."""
    return _with_blocks({"app.bsky.feed.post/self": (cid_of(data), data)})


def _with_blocks(records: Mapping[str, Block]) -> bytes:
    nodes: dict[Cid, bytes] = {}
    tree = mst.build(((key.encode(), cid) for key, (cid, _) in records.items()), nodes.__setitem__)
    fields = {**_COMMIT, "data": tree}
    commit = make_block({**fields, "sig": KEY.sign(dag_cbor.encode(fields))})
    return make_car(commit[0], _distinct([commit, *nodes.items(), *records.values()]))


def _distinct(blocks: Iterable[Block]) -> list[Block]:
    return list(dict(blocks).items())


_FILE: dict[str, bytes] = {
    "nothing": b"",
    "cut in the header": FILE[:20],
    "cut behind the header": FILE[: len(make_car(GOOD.root, []))],
    "cut in the last block": FILE[:-5],
    "cut before the last block": make_car(GOOD.root, GOOD.blocks[:-1]),
    "half a length at the end": FILE + b"\x80",
    "a block of no length at the end": FILE + b"\x00",
    "a block shorter than a CID at the end": FILE + b"\x01\x00",
    "a block of 2 GB at the end": FILE + encode_varint(2**31) + b"\x00" * 40,
    "a length that is not the shortest": _with_long_length(),
    "no commit": _without(GOOD.commit),
    "no root node": _without(GOOD.nodes[-1]),
    "a node missing": _without(GOOD.nodes[0]),
    "a record missing": _without(_LAST_RECORD),
    "a record's bit flipped": _with_last_record_as(_with_flipped_bit(_LAST_RECORD[1], 200)),
    "a record's CID flipped": _with_flipped_bit(FILE, (len(FILE) - len(_LAST_RECORD[1]) - 1) * 8),
    "a record's bytes are another's": _with_last_record_as(next(iter(GOOD.records.values()))[1]),
    "an orphan whose CID is of codec dag-pb": FILE + _length_prefixed(b"\x01\x70\x12\x20" + cid_of(b"x").digest + b"x"),
    "an orphan that does not hash to its CID": FILE + _length_prefixed(cid_of(b"x") + b"y"),
    "two roots": _with_header({"roots": [GOOD.root, GOOD.nodes[-1][0]], "version": 1}),
    "no root": _with_header({"roots": [], "version": 1}),
    "version 2": _with_header({"roots": [GOOD.root], "version": 2}),
    "a header with a third field": _with_header({"roots": [GOOD.root], "version": 1, "more": 1}),
}
_COMMITS: dict[str, bytes] = {
    "version 4": _with_commit({"version": 4}),
    "no rev": _with_commit({}, without="rev"),
    "no prev": _with_commit({}, without="prev"),
    "no signature": _with_commit({"sig": b""}, sig=b""),
    "a rev that is no TID": _with_commit({"rev": "yesterday"}),
    "a prev that is text": _with_commit({"prev": str(GOOD.root)}),
    "a field that no version knows": _with_commit({"more": 1}),
    "a tree whose link is raw": _with_commit({"data": _raw(GOOD.nodes[-1])[0]})
    + _length_prefixed(b"".join(_raw(GOOD.nodes[-1]))),
    "signed by another key": _with_commit({}, sig=OTHER_KEY.sign(dag_cbor.encode(_COMMIT))),
    "signed by nobody": _with_commit({}, sig=bytes(64)),
    "signed with the higher s": _with_commit({}, sig=_high_s(_good_sig())),
    "signed before the rev was changed": _with_commit({"rev": "3jzfcijpj2z2b"}, sig=_good_sig()),
}
_TREES: dict[str, bytes] = {
    "two entries swapped": _with_root_node(_node(None, [_alone(_SECOND), _alone(_FIRST), *map(_alone, _OTHERS)])),
    "two entries swapped with their subtrees": _with_root_node(_node(_LEFT, [_SECOND, _FIRST, *_OTHERS])),
    "an entry twice": _with_root_node(_node(None, [_alone(_FIRST), _alone(_FIRST), *map(_alone, _LEAVES[1:])])),
    "two subtrees swapped": _with_root_node(_node(_FIRST[2], [(*_FIRST[:2], _LEFT), _SECOND, *_OTHERS])),
    "a subtree on the wrong side": _with_root_node(_node(_FIRST[2], [_alone(_FIRST)])),
    "a subtree twice": _with_root_node(_node(_LEFT, [(*_FIRST[:2], _LEFT), _SECOND, *_OTHERS])),
    "a prefix written out": _with_prefix_written_out(),
    "all keys in one node": _with_root_node(
        _node(None, [(key.encode(), cid, None) for key, (cid, _) in GOOD.records.items()])
    ),
    "a root without an entry": _with_root_node({"l": GOOD.nodes[-1][0], "e": []}),
    "an empty node in place of a subtree": _with_subtree({"l": None, "e": []}),
    "a subtree hung one height too high": _with_root_node(_node(_left_grandchild(), _LEAVES)),
    "a subtree hung one height too low": _with_subtree({"l": _LEFT, "e": []}),
    "a subtree that is a record": _with_root_node(_node(_LAST_RECORD[0], _LEAVES)),
    "a subtree that is not there": _with_root_node(_node(cid_of(b"nowhere"), _LEAVES)),
    "a node with a third field": _with_root_node({**_ROOT_NODE, "more": 1}),
    "a node without l": _with_root_node({"e": _ROOT_NODE["e"]}),
    "an entry with a fifth field": _with_first_entry(more=1),
    "an entry without t": _with_first_entry(without="t"),
    "an entry whose key is text": _with_first_entry(k=_FIRST[0].decode()),
    "an entry that shares more than there is": _one_leaf(b"app.bsky.feed.post/self", shared=3),
    "an entry that shares less than nothing": _one_leaf(b"app.bsky.feed.post/self", shared=-1),
    "an entry whose link is raw": _one_leaf(b"app.bsky.feed.post/self", value=_raw(_LAST_RECORD)[0])
    + _length_prefixed(b"".join(_raw(_LAST_RECORD))),
    "a subtree whose link is raw": _with_root_node(_node(_raw(_LEFT_BLOCK)[0], _LEAVES), _raw(_LEFT_BLOCK)),
    "a node that is not canonical": _with_root_node(b"\xa2\x61l\xf6\x61e\x80"),
    "an empty key": _one_leaf(b""),
    "a key of one segment": _one_leaf(b"self"),
    "a key of three segments": _one_leaf(b"app.bsky.feed.post/self/more"),
    "a key without a record key": _one_leaf(b"app.bsky.feed.post/"),
    "a key beyond ASCII": _one_leaf("app.bsky.feed.post/\u00e9".encode()),
    "a key with a blank": _one_leaf(b"app.bsky.feed.post/a b"),
    "a key of 1,025 bytes": _one_leaf(b"app.bsky.feed.post/" + b"a" * 1006),
    "a collection that is no NSID": _with_blocks({"post/self": _LAST_RECORD}),
    "a record key of two dots": _with_blocks({"app.bsky.feed.post/..": _LAST_RECORD}),
    "a record key of 513 characters": _with_blocks({"app.bsky.feed.post/" + "a" * 513: _LAST_RECORD}),
}
_LINK = b"\xa1\x61a\xd8\x2a"
_RECORDS: dict[str, bytes] = {
    "no bytes": b"",
    "no map": b"\x01",
    "a byte too many": b"\xa1\x61a\x01\x00",
    "a byte too few": b"\xa1\x61a",
    "keys not sorted": b"\xa2\x61b\x01\x61a\x02",
    "keys not sorted by length": b"\xa2\x62aa\x01\x61b\x02",
    "a key twice": b"\xa2\x61a\x01\x61a\x02",
    "a key that is a number": b"\xa1\x01\x02",
    "a float": b"\xa1\x61a\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00",
    "a float that is whole": b"\xa1\x61a\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00",
    "a half float": b"\xa1\x61a\xf9\x3c\x00",
    "not a number": b"\xa1\x61a\xf9\x7e\x00",
    "a number that is not the shortest": b"\xa1\x61a\x18\x01",
    "a length that is not the shortest, in a text": b"\xa1\x61a\x78\x01a",
    "a map of indefinite length": b"\xbf\x61a\x01\xff",
    "a text of indefinite length": b"\xa1\x61a\x7f\x61a\xff",
    "a text that is no UTF-8": b"\xa1\x61a\x61\xff",
    "a text with half a surrogate": b"\xa1\x61a\x63\xed\xa0\x80",
    "undefined": b"\xa1\x61a\xf7",
    "a simple value": b"\xa1\x61a\xf0",
    "a date (tag 0)": b"\xa1\x61a\xc0\x74" + b"2024-01-01T00:00:00Z",
    "a big number (tag 2)": b"\xa1\x61a\xc2\x49\x01" + bytes(8),
    "a link without its zero byte": _LINK + b"\x58\x24" + cid_of(b"x"),
    "a link with another byte for zero": _LINK + b"\x58\x25\x01" + cid_of(b"x"),
    "a link that is text": _LINK + b"\x78\x3b" + str(cid_of(b"x")).encode(),
    "a link of codec dag-pb": _LINK + b"\x58\x25\x00\x01\x70\x12\x20" + cid_of(b"x").digest,
    "a link of version 0": _LINK + b"\x58\x23\x00\x12\x20" + cid_of(b"x").digest,
    "a link of SHA-512": _LINK + b"\x58\x45\x00\x01\x71\x13\x40" + bytes(64),
    "a link with a byte too many": _LINK + b"\x58\x26\x00" + cid_of(b"x") + b"\x00",
    "a link of no bytes": _LINK + b"\x40",
    "100,000 lists in each other": b"\xa1\x61a" + b"\x81" * 100_000 + b"\x00",
}

DAMAGES: dict[str, bytes] = {
    **{f"file: {name}": data for name, data in _FILE.items()},
    **{f"commit: {name}": data for name, data in _COMMITS.items()},
    **{f"tree: {name}": data for name, data in _TREES.items()},
    **{f"record: {name}": _with_record(data) for name, data in _RECORDS.items()},
}
