"""Blob references: the current and the legacy form, and what only looks like one."""

import pytest

from eurosky_pipeline.atproto.blob_refs import BlobRef, find_blob_refs
from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline_tests.builders import make_blob_ref, make_legacy_blob_ref, make_post

CID = cid_of(b"a picture", CODEC_RAW)
CURRENT = make_blob_ref()
LEGACY = make_legacy_blob_ref()
AS_CURRENT = BlobRef(CID, "image/png", len(b"a picture"), is_legacy=False)
AS_LEGACY = BlobRef(CID, "image/jpeg", None, is_legacy=True)


def found(record):
    return list(find_blob_refs(record))


def test_both_forms_are_found():
    assert found({"avatar": CURRENT}) == [AS_CURRENT]
    assert found({"avatar": LEGACY}) == [AS_LEGACY]


@pytest.mark.parametrize(("ref", "expected"), [(CURRENT, AS_CURRENT), (LEGACY, AS_LEGACY)], ids=["current", "legacy"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda ref: ref,
        lambda ref: [ref],
        lambda ref: {"embed": {"images": [{"alt": "", "image": ref}]}},
        lambda ref: make_post(embed={"$type": "blob", "image": ref}),
        lambda ref: {"cid": ref, "mimeType": "image/png"},
        lambda ref: {"$type": "blob", "ref": ref, "mimeType": "image/png", "size": 1},
    ],
    ids=["bare", "list", "nested", "in a map typed blob", "in a look-alike", "as the ref of a look-alike"],
)
def test_a_reference_is_found_at_any_place(wrap, ref, expected):
    assert found(wrap(ref)) == [expected]


def test_a_reference_below_a_thousand_levels_is_found():
    record = CURRENT
    for level in range(1000):
        record = [record] if level % 2 else {"in": record}
    assert found(record) == [AS_CURRENT]


def test_a_reference_that_is_repeated_is_repeated():
    record = {"a": CURRENT, "b": [CURRENT, LEGACY], "c": {"d": LEGACY}}
    refs = found(record)
    assert len(refs) == 4
    assert refs.count(AS_CURRENT) == refs.count(AS_LEGACY) == 2


@pytest.mark.parametrize("record", [{}, [], None, "blob", 1, b"", make_post(), {"ref": CID, "mimeType": "image/png"}])
def test_a_record_without_references_has_none(record):
    assert found(record) == []


@pytest.mark.parametrize(
    "change",
    [
        {"size": 1},
        {"$type": "blob"},
        {"$type": "app.bsky.embed.images#image"},
        {"alt": ""},
        {"mimeType": ""},
        {"mimeType": None},
        {"mimeType": b"image/png"},
        {"cid": "not a cid"},
        {"cid": ""},
        {"cid": str(CID).upper()},
        {"cid": str(CID) + " "},
        {"cid": CID},
        {"cid": bytes(CID)},
        {"cid": None},
    ],
    ids=repr,
)
def test_what_only_looks_like_a_legacy_reference_is_none(change):
    assert found({"avatar": LEGACY | change}) == []


@pytest.mark.parametrize("missing", ["cid", "mimeType"])
def test_half_a_legacy_reference_is_none(missing):
    assert found({key: value for key, value in LEGACY.items() if key != missing}) == []


@pytest.mark.parametrize(
    "change",
    [
        {"$type": "Blob"},
        {"$type": None},
        {"ref": str(CID)},
        {"ref": {"$link": str(CID)}},
        {"ref": bytes(CID)},
        {"ref": None},
        {"mimeType": None},
        {"mimeType": 1},
    ],
    ids=repr,
)
def test_what_only_looks_like_a_current_reference_is_none(change):
    assert found({"avatar": CURRENT | change}) == []


@pytest.mark.parametrize(
    ("claimed", "size_bytes"), [(0, 0), (1, 1), (10**12, 10**12), (-1, None), ("9", None), (None, None), (True, None)]
)
def test_a_size_that_is_no_size_is_none_and_the_reference_still_found(claimed, size_bytes):
    assert found(CURRENT | {"size": claimed}) == [BlobRef(CID, "image/png", size_bytes, is_legacy=False)]


def test_a_current_reference_may_lack_its_size_or_have_more_fields():
    without = {key: value for key, value in CURRENT.items() if key != "size"}
    assert found(without) == [BlobRef(CID, "image/png", None, is_legacy=False)]
    assert found(CURRENT | {"original": {"$type": "string"}}) == [AS_CURRENT]
