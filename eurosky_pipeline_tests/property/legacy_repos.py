"""Repositories of every kind that a conversion may meet, for Hypothesis: small, whole, and full of traps.

A record refers to records that were made before it, by the CIDs that these have, so that chains and fans come about
by themselves; the keys are in another order than that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from hypothesis import strategies as st

from eurosky_pipeline.atproto import mst
from eurosky_pipeline.atproto.cid import CODEC_DAG_CBOR, CODEC_RAW, Cid, cid_of
from eurosky_pipeline.atproto.syntax import tid_of
from eurosky_pipeline_tests.builders import (
    DID,
    OTHER_DID,
    REV,
    keys_at_height,
    make_block,
    make_car,
    make_post,
    make_repo,
    make_strong_ref,
)
from eurosky_pipeline_tests.plain_convert import each_map, legacy_blob

BLOBS = [cid_of(b"blob %d" % n, CODEC_RAW) for n in range(4)] + [cid_of(b"a blob named as a block", CODEC_DAG_CBOR)]
LATEST_TID = "jzzzzzzzzzzzz"
_POST = "app.bsky.feed.post"
_KEYS = [
    *(key.decode() for height in range(4) for key in islice(keys_at_height(height), 3)),
    *(f"app.bsky.feed.like/{tid_of(1_600_000_000_000_000 + n)}" for n in range(6)),
    "app.bsky.actor.profile/self",
    "com.example.unknown/a:b~c.d_e-f",
    "com.example.unknown/0",
    f"{_POST}/not-a-tid",
]


@dataclass(frozen=True, slots=True)
class Story:
    """A repository and what is known around it: the CAR, the records in it, and the sizes that the source tells."""

    did: str
    records: Mapping[str, dict[str, Any]]
    car: bytes
    sizes: Mapping[Cid, int]


@dataclass(frozen=True, slots=True)
class _Ref:
    """Stands for a strong reference to an earlier record, until it is known which ones there are."""

    index: int
    kind: str
    more: Any


def true_size(blob: Cid) -> int:
    return 100_000 + BLOBS.index(blob)


def look_alikes(blob: Cid) -> dict[str, Any]:
    """By name, what is no legacy reference, however much it looks like one."""
    text, mime = str(blob), "image/jpeg"
    return {
        "a third key": {"cid": text, "mimeType": mime, "alt": ""},
        "a size": {"cid": text, "mimeType": mime, "size": 5},
        "a $type": {"$type": "blob", "cid": text, "mimeType": mime},
        "no mime type": {"cid": text},
        "no CID": {"mimeType": mime},
        "an empty mime type": {"cid": text, "mimeType": ""},
        "a mime type that is null": {"cid": text, "mimeType": None},
        "a mime type that is a number": {"cid": text, "mimeType": 5},
        "a mime type that is a list": {"cid": text, "mimeType": [mime]},
        "a mime type that is bytes": {"cid": text, "mimeType": mime.encode()},
        "another spelling of a key": {"cid": text, "mimetype": mime},
        "another key": {"ref": text, "mimeType": mime},
        "a CID that is a link": {"cid": blob, "mimeType": mime},
        "a CID in a $link": {"cid": {"$link": text}, "mimeType": mime},
        "a CID that is bytes": {"cid": bytes(blob), "mimeType": mime},
        "a CID that is a number": {"cid": 5, "mimeType": mime},
        "a CID that is empty": {"cid": "", "mimeType": mime},
        "a CID in upper case": {"cid": text.upper(), "mimeType": mime},
        "a CID in upper case behind a lower b": {"cid": "b" + text[1:].upper(), "mimeType": mime},
        "a CID in hex": {"cid": "f" + blob.hex(), "mimeType": mime},
        "a CID of version 0": {"cid": "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "mimeType": mime},
        "a CID of codec dag-pb": {"cid": str(Cid(b"\x01\x70" + blob[2:])), "mimeType": mime},
        "a CID of SHA-512": {"cid": str(Cid(b"\x01\x55\x13\x20" + blob[4:])), "mimeType": mime},
        "a CID with a letter too few": {"cid": text[:-1], "mimeType": mime},
        "a CID with a letter too many": {"cid": text + "a", "mimeType": mime},
        "a CID with a blank": {"cid": text + " ", "mimeType": mime},
        "a CID with a line end": {"cid": text[:-1] + "\n", "mimeType": mime},
        "a CID with padding": {"cid": text[:-1] + "=", "mimeType": mime},
        "a CID whose last bits are not zero": {"cid": text[:-1] + _next_digit(text[-1]), "mimeType": mime},
        "a CID with a digit that base32 lacks": {"cid": text[:-2] + "1" + text[-1], "mimeType": mime},
        "a CID with a letter beyond ASCII": {"cid": text[:-1] + "\u0430", "mimeType": mime},
        "a CID with the prefix of another base": {"cid": "c" + text[1:], "mimeType": mime},
    }


def _next_digit(digit: str) -> str:
    base32 = "abcdefghijklmnopqrstuvwxyz234567"
    return base32[base32.index(digit) + 1]


LOOK_ALIKES = tuple(look_alikes(BLOBS[0]))

_mime_types = st.sampled_from(["image/jpeg", "image/png", "video/mp4", "\u00e9", "*/*"])
_blobs = st.sampled_from(BLOBS)
_legacy = st.builds(lambda blob, mime: {"cid": str(blob), "mimeType": mime}, _blobs, _mime_types)


@st.composite
def _current(draw: st.DrawFn) -> dict[str, Any]:
    blob = draw(_blobs)
    size = draw(st.sampled_from([true_size(blob)] * 6 + [1, 0, -1, 2**53 - 1, 2**53, True, "12", None]))
    mime_type = draw(st.sampled_from(["image/jpeg"] * 4 + ["", 5]))
    return {"$type": "blob", "ref": blob, "mimeType": mime_type, "size": size}


_look_alikes = st.builds(lambda blob, name: look_alikes(blob)[name], _blobs, st.sampled_from(LOOK_ALIKES))
_plain = st.sampled_from([None, True, False, 0, -1, 2**63, "", "text", "\u00e9\U0001f98b", b"", b"\xff", BLOBS[0]])
_REF_KINDS = (
    "wrong cid", "handle", "other did", "missing key", "link", "slash", "fragment", "upper case", "no uri", "no cid"
)  # fmt: skip
_refs = st.builds(_Ref, st.integers(0, 99), st.sampled_from(["right"] * 20 + list(_REF_KINDS)), st.none())
_parts = st.recursive(
    _legacy | _refs | _current() | _look_alikes | _plain | _legacy | _refs,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "embed", "cid", "uri", "e", "$type", "\u00e9"]), inner, max_size=3),
        st.builds(_Ref, st.integers(0, 99), st.just("right"), inner),
    ),
    max_leaves=6,
)
_plans = st.one_of(
    st.dictionaries(st.sampled_from(["subject", "reply", "embed", "avatar"]), _parts, max_size=4),
    st.dictionaries(st.sampled_from(["subject", "reply", "embed", "avatar"]), _parts, max_size=4),
    st.builds(lambda part, name: {"e": part, name: None}, _parts, st.sampled_from("lxz")),  # begins as a node does
    st.sampled_from([{}, {"e": [], "l": None}]),  # the latter is the empty tree's node
    _legacy,  # nothing but the reference
    _refs.filter(lambda ref: ref.kind == "right"),
    st.integers(0, 99),  # the same as an earlier one
    st.integers(100, 199),  # what an earlier one will be
)


def _resolved(value: Any, did: str, earlier: list[tuple[str, Cid]]) -> Any:
    if isinstance(value, _Ref):
        return _strong_ref(value, did, earlier)
    if isinstance(value, dict):
        return {key: _resolved(inner, did, earlier) for key, inner in value.items()}
    return [_resolved(inner, did, earlier) for inner in value] if isinstance(value, list) else value


def _strong_ref(ref: _Ref, did: str, earlier: list[tuple[str, Cid]]) -> dict[str, Any]:
    missing = (f"{_POST}/3aaaaaaaaaaaa", cid_of(b"deleted"))
    key, cid = earlier[-1 - ref.index % len(earlier)] if earlier else missing
    right = make_strong_ref(key, cid, did=did)
    more = {} if ref.more is None else {"via": _resolved(ref.more, did, earlier), "$type": "com.atproto.repo.strongRef"}
    return {
        "right": right | more,
        "wrong cid": make_strong_ref(key, missing[1], did=did),
        "handle": make_strong_ref(key, cid, did="alice.example.com"),
        "other did": make_strong_ref(key, cid, did=OTHER_DID),
        "missing key": make_strong_ref(missing[0], cid, did=did),
        "link": right | {"cid": cid},
        "slash": right | {"uri": right["uri"] + "/"},
        "fragment": right | {"uri": right["uri"] + "#text"},
        "upper case": right | {"cid": right["cid"].upper()},
        "no uri": {"cid": right["cid"]},
        "no cid": {"uri": right["uri"]},
    }[ref.kind]


def modern(record: dict[str, Any]) -> dict[str, Any]:
    """The record with current references in place of legacy ones, their sizes the true ones."""

    def change(value: dict[str, Any]) -> dict[str, Any]:
        blob = legacy_blob(value)
        if blob is None:
            return value
        return {"$type": "blob", "ref": blob, "mimeType": value["mimeType"], "size": true_size(blob)}

    return each_map(record, change)  # type: ignore[no-any-return]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    did = draw(st.sampled_from([DID, DID, DID, "did:web:example.com"]))
    records: dict[str, dict[str, Any]] = {}
    earlier: list[tuple[str, Cid]] = []
    for key in draw(st.lists(st.sampled_from(_KEYS), unique=True, max_size=12)):
        plan = draw(_plans)
        if isinstance(plan, int):
            before = records[earlier[-1 - plan % len(earlier)][0]] if earlier else {}
            plan = before if plan < 100 else modern(before)
        record = _resolved(plan, did, earlier)
        records[key] = record
        earlier.append((key, make_block(record)[0]))
    car = draw(_cars(did, records))
    told = draw(st.sets(_blobs))
    odd = draw(st.sampled_from([{}, {}, {}, {BLOBS[0]: 0}, {BLOBS[1]: -1}, {BLOBS[2]: 2**53}]))
    return Story(did, records, car, {blob: true_size(blob) for blob in told} | odd)


@st.composite
def _cars(draw: st.DrawFn, did: str, records: Mapping[str, dict[str, Any]]) -> bytes:
    blocks = {key: make_block(record) for key, record in records.items()}
    nodes: dict[Cid, bytes] = {}
    tree = mst.build(((key.encode(), cid) for key, (cid, _) in blocks.items()), nodes.__setitem__)
    commit = make_block({"did": did, "data": tree, "sig": b"once signed", **draw(_commits(records))})
    whole = list(
        dict([commit, *reversed(nodes.items()), *blocks.values(), *draw(st.lists(_orphans, max_size=3))]).items()
    )
    order = draw(st.sampled_from(["as sent", "reversed", "mixed"]))
    if order == "reversed":
        whole.reverse()
    if order == "mixed":
        draw(st.randoms(use_true_random=False)).shuffle(whole)
    return make_car(commit[0], whole + whole[: draw(st.sampled_from([0, 0, 2, 100]))])


@st.composite
def _commits(draw: st.DrawFn, records: Mapping[str, Any]) -> dict[str, Any]:
    prev = draw(st.sampled_from([None, None, cid_of(b"the commit before")]))
    kind = draw(st.sampled_from(["3", "3", "2 with rev", "2", "2 without prev"]))
    rev = draw(st.sampled_from([REV, "222222222222z", "3zzzzzzzzzzzz"]))
    return {
        "3": {"version": 3, "rev": rev, "prev": prev},
        "2 with rev": {"version": 2, "rev": rev, "prev": prev},
        "2": {"version": 2, "prev": prev},
        "2 without prev": {"version": 2},
    }[kind]


_old_tree = make_repo({key: make_post(old=True) for key in _KEYS[:9]})
_orphans = st.sampled_from(
    [
        make_block(make_post(image={"cid": str(BLOBS[3]), "mimeType": "image/jpeg"})),
        make_block({"avatar": {"$type": "blob", "ref": BLOBS[0], "mimeType": "image/jpeg", "size": 77}}),
        make_block({"subject": make_strong_ref(_KEYS[0], make_block({})[0])}),
        _old_tree.commit,
        *_old_tree.nodes,
        make_block({"e": [], "l": None}),
        make_block(5),
        (cid_of(b"\xff no CBOR"), b"\xff no CBOR"),
        (cid_of(b"raw", CODEC_RAW), b"raw"),
        (cid_of(b""), b""),
    ]
)
