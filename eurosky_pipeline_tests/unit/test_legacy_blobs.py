"""Legacy blob references: what is one, what only looks like one, and where its size comes from."""

from typing import Any

import pytest

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import CODEC_DAG_CBOR, CODEC_RAW, Cid, cid_of
from eurosky_pipeline.convert.legacy_blobs import LegacyBlobs
from eurosky_pipeline.errors import EuroskyError, TransientError
from eurosky_pipeline.plugins.record_transforms import TransformContext, UnknownSize
from eurosky_pipeline_tests import plain_convert
from eurosky_pipeline_tests.builders import DID, make_legacy_blob_ref, make_post, make_repo_car
from eurosky_pipeline_tests.converting import Outcome, convert
from eurosky_pipeline_tests.property.legacy_repos import LOOK_ALIKES, look_alikes

POST = "app.bsky.feed.post"
PICTURE = b"a picture"
BLOB = cid_of(PICTURE, CODEC_RAW)
OTHER_BLOB = cid_of(b"another picture", CODEC_RAW)
LEGACY = make_legacy_blob_ref(PICTURE)
CURRENT = {"$type": "blob", "ref": BLOB, "mimeType": "image/jpeg", "size": 760_898}
SIZES = {BLOB: 760_898, OTHER_BLOB: 5}


def converted(*records: dict[str, Any], sizes: dict[Cid, int] = SIZES, **options: Any) -> tuple[Outcome, list[Any]]:
    """Convert a repository of these records; what came of each."""
    data = make_repo_car({f"{POST}/{number:04}": record for number, record in enumerate(records)})
    outcome = convert(data, sizes, **options)
    return outcome, list(plain_convert.read(outcome.data or data).records.values())


# what is one


PLACES: dict[str, Any] = {
    "in a field": lambda blob: {"avatar": blob},
    "in a list": lambda blob: {"images": [blob]},
    "in a list of lists": lambda blob: {"images": [[], [[blob]]]},
    "in an embed, as posts have it": lambda blob: make_post(
        embed={"$type": "app.bsky.embed.images", "images": [{"alt": "", "image": blob}]}
    ),
    "in an embed in an embed": lambda blob: {"embed": {"media": {"external": {"thumb": blob}}}},
    "in a field called cid": lambda blob: {"cid": blob, "mimeType": "image/jpeg"},
    "in a field called mimeType": lambda blob: {"cid": str(BLOB), "mimeType": blob},
    "in a field called ref, of what is no blob": lambda blob: {"$type": "blob", "ref": blob},
    "in a field without a name": lambda blob: {"": blob},
    "beside a strong reference of another account": lambda blob: {
        "uri": "at://alice.example.com/a.b.c/d", "cid": str(BLOB), "thumb": blob
    },
    "in a record of no known kind": lambda blob: {"$type": "com.example.unknown", "x": {"y": [1, {"z": blob}]}},
    "in a record without a kind": lambda blob: {"x": blob},
    "in a record that begins as a tree's node does": lambda blob: {"e": [blob], "l": None},
    "twice in one record": lambda blob: {"avatar": blob, "banner": blob},
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_legacy_reference_is_converted_wherever_it_stands(place):
    outcome, records = converted(place(LEGACY))
    assert records == [place(CURRENT)]
    assert outcome.counts["refs_converted"] == outcome.counts["refs_found"] == str(place("blob!")).count("blob!")


@pytest.mark.parametrize("collection", ["app.bsky.actor.profile", "com.example.a-b.recordV2", "x.y.z"])
def test_a_legacy_reference_is_converted_in_every_collection(collection):
    data = make_repo_car({f"{collection}/self": {"x": LEGACY}})
    assert plain_convert.read(convert(data, SIZES).data).records == {f"{collection}/self": {"x": CURRENT}}


@pytest.mark.parametrize("mime_type", ["image/jpeg", "*/*", "nonsense", " ", "\0", "é", "x" * 100_000])
def test_any_mime_type_that_is_not_empty_is_one_and_is_kept_to_the_letter(mime_type):
    _, records = converted({"x": LEGACY | {"mimeType": mime_type}})
    assert records == [{"x": CURRENT | {"mimeType": mime_type}}]


@pytest.mark.parametrize("codec", [CODEC_RAW, CODEC_DAG_CBOR])
def test_a_cid_of_either_codec_that_the_protocol_blesses_is_one(codec):
    blob = cid_of(PICTURE, codec)
    _, records = converted({"x": {"cid": str(blob), "mimeType": "image/jpeg"}}, sizes={blob: 9})
    assert records == [{"x": CURRENT | {"ref": blob, "size": 9}}]


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_what_only_looks_like_one_is_left_alone(name):
    look_alike = look_alikes(BLOB)[name]
    outcome, records = converted({"x": look_alike}, unknown="sentinel")
    assert outcome.data is None
    assert outcome.counts["refs_found"] == 0
    assert records == [{"x": look_alike}]


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_what_only_looks_like_one_stays_as_it_is_beside_a_real_one(name):
    look_alike = look_alikes(OTHER_BLOB)[name]
    outcome, records = converted({"x": [look_alike, LEGACY], "y": {"z": look_alike}}, unknown="sentinel")
    assert records == [{"x": [look_alike, CURRENT], "y": {"z": look_alike}}]
    assert outcome.counts["refs_found"] == 1


@pytest.mark.parametrize("field", ["cid", "mimeType", "alt"])
def test_a_real_one_within_what_only_looks_like_one_is_converted(field):
    look_alike = make_legacy_blob_ref(b"another picture")
    assert converted({"x": look_alike | {field: LEGACY}})[1] == [{"x": look_alike | {field: CURRENT}}]


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_the_plain_conversion_knows_the_look_alikes_too(name):
    assert plain_convert.legacy_blob(look_alikes(BLOB)[name]) is None
    assert plain_convert.legacy_blob(LEGACY) == BLOB


def test_a_current_reference_is_left_as_it_is_though_its_size_be_wrong():
    current = [CURRENT | {"size": size} for size in (1, 0, -1, None)]
    assert converted({"x": current})[0].data is None


def test_a_blob_that_two_references_name_with_other_mime_types_keeps_both():
    other = LEGACY | {"mimeType": "image/png"}
    outcome, records = converted({"x": [LEGACY, other]})
    assert records == [{"x": [CURRENT, CURRENT | {"mimeType": "image/png"}]}]
    assert (outcome.counts["refs_converted"], outcome.counts["distinct_blobs"]) == (2, 1)


# how deep


def nested(value: Any, depth: int) -> dict[str, Any]:
    """In so many lists in a record."""
    for _ in range(depth):
        value = [value]
    return {"x": value}


def test_a_legacy_reference_far_down_is_converted():
    deepest = dag_cbor.MAX_DEPTH - 3  # the record, the reference and the link in it are levels too
    assert dag_cbor.encode(nested(CURRENT, deepest))
    outcome, records = converted(nested(LEGACY, deepest))
    assert records == [nested(CURRENT, deepest)]
    assert outcome.counts["refs_converted"] == 1


def test_a_reference_so_far_down_that_its_link_would_be_too_deep_is_an_error_that_names_the_record():
    """Nobody's record is as deep; that it is not written as what no reader takes is what counts."""
    record = nested(LEGACY, dag_cbor.MAX_DEPTH - 2)
    assert dag_cbor.encode(record)
    with pytest.raises(EuroskyError) as caught:
        converted({}, record)
    assert f"{POST}/0001" in caught.value.message
    assert caught.value.hint


# its size


def test_a_size_that_a_current_reference_tells_is_taken_and_nobody_is_asked():
    outcome, records = converted({"x": CURRENT}, {"x": LEGACY}, sizes={})
    assert records == [{"x": CURRENT}, {"x": CURRENT}]
    assert outcome.asked == ()
    assert (outcome.counts["sizes_known"], outcome.counts["sizes_asked"], outcome.counts["sizes_unknown"]) == (1, 0, 0)


def test_a_current_reference_in_the_same_record_and_one_that_comes_later_tell_sizes_too():
    outcome, _ = converted({"x": LEGACY, "y": CURRENT}, {"x": LEGACY})
    later, _ = converted({"x": LEGACY}, {"x": CURRENT})
    assert outcome.asked == later.asked == ()


def test_what_is_not_known_is_asked_for_once_however_often_it_stands_there():
    other = make_legacy_blob_ref(b"another picture")
    outcome, _ = converted({"x": [LEGACY, LEGACY]}, {"x": LEGACY}, {"x": other})
    assert [sorted(call) for call in outcome.asked] == [sorted([BLOB, OTHER_BLOB])]
    assert (outcome.counts["sizes_known"], outcome.counts["sizes_asked"], outcome.counts["sizes_unknown"]) == (0, 2, 0)


def test_nobody_is_asked_where_there_is_nothing_to_convert():
    assert converted({"x": CURRENT})[0].asked == ()


@pytest.mark.parametrize("size", [0, -1, 2**53, 2**64 - 1, True, "760898", None])
def test_a_size_that_cannot_be_is_not_taken_from_a_current_reference(size):
    outcome, records = converted({"x": CURRENT | {"size": size}}, {"x": LEGACY})
    assert outcome.asked == ((BLOB,),)
    assert records[1] == {"x": CURRENT}


def test_current_references_that_disagree_tell_no_size():
    outcome, records = converted({"x": CURRENT | {"size": 1}}, {"x": CURRENT | {"size": 2}}, {"x": LEGACY})
    assert outcome.asked == ((BLOB,),)
    assert records[2] == {"x": CURRENT}


def test_an_orphans_word_on_a_size_is_as_good_as_a_records():
    """Both speak of what the CID names; and where they disagree, the source is asked."""
    record = {f"{POST}/a": {"x": LEGACY}}
    assert convert(make_repo_car(record, orphans=[{"x": CURRENT}]), {}).asked == ()
    assert convert(make_repo_car(record, orphans=[{"x": CURRENT}, {"x": CURRENT | {"size": 5}}]), {}).asked == (
        (BLOB,),
    )


def test_an_orphans_legacy_reference_is_neither_counted_nor_asked_for():
    data = make_repo_car({f"{POST}/a": {"x": 1}}, orphans=[{"x": LEGACY}])
    outcome = convert(data, SIZES)
    assert (outcome.data, outcome.asked, outcome.counts["refs_found"]) == (None, (), 0)


@pytest.mark.parametrize("size", [0, -1, -5, 2**53, 2**70])
def test_a_size_that_cannot_be_is_not_taken_from_the_source_either(size):
    outcome, _ = converted({"x": LEGACY}, sizes={BLOB: size})
    assert outcome.data is None
    assert outcome.counts["sizes_unknown"] == 1


@pytest.mark.parametrize("size", [1, 23, 24, 2**32, 2**53 - 1])
def test_every_size_that_can_be_is_taken(size):
    assert converted({"x": LEGACY}, sizes={BLOB: size})[1] == [{"x": CURRENT | {"size": size}}]


def test_an_unknown_size_keeps_the_reference_and_converts_the_others():
    other = make_legacy_blob_ref(b"another picture")
    outcome, records = converted({"x": [LEGACY, other]}, {"x": other}, sizes={BLOB: 760_898})
    assert records == [{"x": [CURRENT, other]}, {"x": other}]
    assert (outcome.counts["refs_converted"], outcome.counts["refs_kept"]) == (1, 2)
    assert outcome.conversion.records_changed == 1


def test_nothing_is_written_where_every_reference_is_kept():
    outcome, _ = converted({"x": LEGACY}, sizes={})
    assert outcome.data is None
    assert (outcome.counts["refs_found"], outcome.counts["refs_kept"], outcome.counts["refs_converted"]) == (1, 1, 0)


def test_an_unknown_size_can_be_written_as_minus_one():
    outcome, records = converted({"x": LEGACY}, sizes={}, unknown="sentinel")
    assert records == [{"x": CURRENT | {"size": -1}}]
    assert (outcome.counts["refs_converted"], outcome.counts["refs_kept"]) == (1, 0)
    assert outcome.counts["sizes_unknown"] == 1


def test_an_unknown_size_can_be_an_error_that_names_the_blob():
    with pytest.raises(EuroskyError) as caught:
        converted({"x": LEGACY}, sizes={}, unknown="fail")
    assert caught.value.code == "blob_size_unknown"
    assert str(BLOB) in caught.value.message
    assert caught.value.hint


def test_fail_is_content_where_every_size_is_known():
    assert converted({"x": LEGACY}, unknown="fail")[1] == [{"x": CURRENT}]


# the class by itself


def context(sizes: Any, unknown: UnknownSize = UnknownSize.KEEP) -> TransformContext:
    return TransformContext(DID, unknown, sizes, lambda _: None)


def test_an_error_of_the_source_is_handed_on_as_it_is():
    fault = TransientError("the source is gone", code="host_unreachable")

    def sizes(_: Any) -> Any:
        raise fault

    transform = LegacyBlobs()
    transform.survey({"x": LEGACY})
    with pytest.raises(TransientError) as caught:
        transform.prepare(context(sizes))
    assert caught.value is fault


def test_a_survey_leaves_the_record_as_it_is():
    record = {"x": [LEGACY, CURRENT]}
    before = dag_cbor.encode(record)
    LegacyBlobs().survey(record)
    assert dag_cbor.encode(record) == before


def test_two_instances_share_nothing():
    one, other = LegacyBlobs(), LegacyBlobs()
    one.survey({"x": LEGACY})
    one.prepare(context(lambda cids: dict.fromkeys(cids, 5)))
    other.prepare(context(lambda cids: pytest.fail("there is nothing to ask for")))
    assert one.counts()["refs_found"] == 1
    assert other.counts()["refs_found"] == 0


def test_its_name_and_version_are_stable():
    assert (LegacyBlobs.name, LegacyBlobs.version) == ("legacy_blobs", "1")


@pytest.mark.parametrize(
    "record",
    [
        {"a": {"ref": BLOB}, "size": 5, "$type": "blob", "mimeType": "x"},
        {"a": dag_cbor.encode({"$type": "blo", "ref": BLOB, "size": 7, "mimeType": "x"})},
    ],
    ids=["keys of two maps", "bytes of something else"],
)
def test_what_only_looks_like_a_current_reference_tells_no_size(record):
    outcome, _ = converted({"i": LEGACY}, record, sizes={})
    assert outcome.conversion.count("sizes_known") == 0


@pytest.mark.parametrize("key", ["src", "zzz", "name", "text", "type", "thumbnail"])
def test_a_current_reference_with_one_more_key_tells_a_size(key):
    outcome, _ = converted({"i": LEGACY}, {"i": {**CURRENT, key: 1}}, sizes={})
    assert (outcome.conversion.count("sizes_known"), outcome.conversion.count("refs_converted")) == (1, 1)


def test_a_legacy_reference_inside_a_current_one_is_found():
    outcome, _ = converted({"i": {**CURRENT, "thumb": LEGACY}})
    assert outcome.conversion.count("refs_converted") == 1
