"""Other people's record transforms in a conversion: what they see, what they may give back, what becomes of faults."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from eurosky_pipeline.atproto import dag_cbor, mst
from eurosky_pipeline.atproto.car import MAX_BLOCK_BYTES
from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.atproto.verify import verify_car
from eurosky_pipeline.convert.legacy_blobs import LegacyBlobs
from eurosky_pipeline.errors import EuroskyError, PermanentError
from eurosky_pipeline.plugins.record_transforms import RecordTransform, TransformContext
from eurosky_pipeline_tests import plain_convert
from eurosky_pipeline_tests.builders import (
    DID,
    REV,
    keys_at_height,
    make_block,
    make_car,
    make_legacy_blob_ref,
    make_post,
    make_posts,
    make_repo,
    make_repo_car,
    make_strong_ref,
)
from eurosky_pipeline_tests.converting import POST, SIZES, convert, saved

A, B, C = (f"{POST}/{letter}" for letter in "abc")


def uri(key: str) -> str:
    return f"at://{DID}/{key}"


class Made(RecordTransform):
    """Does what a test wants; notes what it is taken through."""

    name, version = "made", "7"

    def __init__(self, change: Callable[[str, dict[str, Any]], Any] = lambda _, record: record, name: str = "made"):
        self.change = change
        self.steps: list[Any] = []
        self.name = name  # type: ignore[misc]

    def scan(self, block: bytes) -> bool:
        self.steps.append("scan")
        return b"createdAt" in block

    def survey(self, record: Mapping[str, Any]) -> None:
        self.steps.append(("survey", record.get("text")))

    def prepare(self, context: TransformContext) -> None:
        self.steps.append(("prepare", context.did))

    def transform(self, uri: str, record: dict[str, Any]) -> dict[str, Any]:
        self.steps.append(("transform", uri))
        return self.change(uri, record)  # type: ignore[no-any-return]

    def counts(self) -> Mapping[str, int]:
        return {"transformed": sum(step[0] == "transform" for step in self.steps)}


def added(**fields: Any) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    return lambda _, record: record | fields


def converted(records: Mapping[str, Any], *transforms: RecordTransform, **options: Any) -> dict[str, Any]:
    data = make_repo_car(records)
    outcome = convert(data, SIZES, transforms=transforms, **options)
    return plain_convert.read(outcome.data or data).records


# what they see


def test_the_steps_come_in_their_order():
    transform = Made()
    convert(
        make_repo_car({A: make_post("one"), B: {"text": "other"}}, orphans=[make_post("orphan")]),
        transforms=[transform],
    )
    names = [step if isinstance(step, str) else step[0] for step in transform.steps]
    assert names == sorted(names, key=["scan", "survey", "prepare", "transform"].index)
    assert names.count("prepare") == 1
    assert ("prepare", DID) in transform.steps


def test_only_records_that_the_tree_leads_to_and_that_the_scan_wants_are_surveyed_and_transformed():
    transform = Made()
    records = {A: make_post("one"), B: {"text": "unwanted"}}
    convert(make_repo_car(records, orphans=[make_post("orphan")]), transforms=[transform])
    assert [step for step in transform.steps if step[0] in {"survey", "transform"}] == [
        ("survey", "one"), ("transform", uri(A))
    ]  # fmt: skip


def test_without_a_scan_of_its_own_a_transform_gets_every_record():
    class Every(Made):
        scan = RecordTransform.scan

    transform = Every(added(x=1))
    records = {A: make_post("one"), B: {}, C: {"e": [], "l": None}}
    assert converted(records, transform) == {key: record | {"x": 1} for key, record in records.items()}


def test_a_transform_sees_links_as_cids_and_bytes_as_bytes():
    record = make_post(link=cid_of(b"x"), raw=b"\0", list=[None, True, -1, {}])
    seen = []
    converted({A: record}, Made(lambda _, record: seen.append(record) or record))
    assert seen == [record]
    assert type(seen[0]["link"]) is Cid
    assert type(seen[0]["raw"]) is bytes


def test_its_name_version_and_counts_stand_in_the_report_in_the_order_of_the_settings():
    outcome = convert(
        make_repo_car({A: make_post()}), SIZES, transforms=[Made(name="one"), LegacyBlobs(), Made(name="two")]
    )
    assert [(name, version) for name, version, _ in outcome.conversion.transforms] == [
        ("one", "7"), ("legacy_blobs", "1"), ("two", "7")
    ]  # fmt: skip
    assert outcome.conversion.transforms[0][2] == {"transformed": 1}


# what they may give back


@pytest.mark.parametrize(
    "change",
    [
        lambda _, record: record | {"x": 1},
        lambda _, record: record.update(x=1) or record,
        lambda _, record: dict(reversed((record | {"x": 1}).items())),
    ],
    ids=["another one", "the same, changed", "its keys in another order"],
)
def test_a_transform_may_change_the_record_or_make_another(change):
    assert converted({A: make_post()}, Made(change)) == {A: make_post(x=1)}


@pytest.mark.parametrize("change", [lambda _, record: record, lambda _, record: dict(reversed(record.items()))])
def test_a_record_that_comes_back_equal_is_no_change(change):
    assert convert(make_repo_car({A: make_post()}), transforms=[Made(change)]).data is None


def test_a_transform_may_take_things_away():
    assert converted({A: make_post(x=1)}, Made(lambda _, record: {})) == {A: {}}


def test_transforms_run_one_after_the_other_on_what_the_one_before_gave():
    first = Made(lambda _, record: record | {"x": [1]}, "first")
    second = Made(lambda _, record: record | {"x": [*record.get("x", []), 2]}, "second")
    assert converted({A: make_post()}, first, second) == {A: make_post(x=[1, 2])}
    assert converted({A: make_post()}, second, first) == {A: make_post(x=[1])}


def test_a_legacy_reference_that_another_transform_takes_away_is_not_converted_and_one_that_it_makes_is():
    legacy = make_legacy_blob_ref()
    current = {"$type": "blob", "ref": cid_of(b"a picture", CODEC_RAW), "mimeType": "image/jpeg", "size": 9}
    takes = Made(lambda _, record: {key: value for key, value in record.items() if key != "image"})
    assert converted({A: make_post(image=legacy)}, takes, LegacyBlobs()) == {A: make_post()}
    makes = Made(added(banner=legacy))
    records = {A: make_post(image=legacy)}
    assert converted(records, makes, LegacyBlobs()) == {A: make_post(image=current, banner=current)}
    assert converted(records, LegacyBlobs(), makes) == {A: make_post(image=current, banner=legacy)}


def test_a_transform_gets_a_record_that_another_ones_scan_wanted_too():
    class Never(Made):
        def scan(self, block: bytes) -> bool:
            return False

    transform = Never(added(x=1))
    assert converted({A: make_post(), B: {"a": 1}}, Made(name="other"), transform) == {A: make_post(x=1), B: {"a": 1}}


def test_the_uri_decides_where_two_keys_share_a_block():
    records = {
        A: make_post(),
        B: make_post(),
        C: {"refs": [make_strong_ref(key, make_block(make_post())[0]) for key in (A, B)]},
    }
    after = converted(records, Made(lambda name, record: record | {"mine": name}))
    assert (after[A]["mine"], after[B]["mine"]) == (uri(A), uri(B))
    assert after[C] == {"refs": [make_strong_ref(key, make_block(after[key])[0]) for key in (A, B)]}


def test_one_of_two_keys_that_share_a_block_may_change_and_the_other_stay():
    records = {
        A: make_post(),
        B: make_post(),
        C: {"refs": [make_strong_ref(key, make_block(make_post())[0]) for key in (A, B)]},
    }
    after = converted(records, Made(lambda name, record: record | {"x": 1} if name == uri(B) else record))
    assert (after[A], after[B]) == (make_post(), make_post(x=1))
    assert after[C]["refs"] == [
        make_strong_ref(A, make_block(make_post())[0]),
        make_strong_ref(B, make_block(after[B])[0]),
    ]


def test_what_is_changed_in_the_record_of_one_key_is_not_seen_in_that_of_another():
    """Though both are one block, and the transform changes what it was given."""

    def change(name: str, record: dict[str, Any]) -> dict[str, Any]:
        record["seen"] = [*record.get("seen", []), name]
        return record

    after = converted({A: make_post(tags=["x"]), B: make_post(tags=["x"])}, Made(change))
    assert (after[A]["seen"], after[B]["seen"]) == ([uri(A)], [uri(B)])


def test_two_records_may_become_the_same():
    after = converted(make_posts(5), Made(lambda _, record: make_post("all the same")))
    assert list(after.values()) == [make_post("all the same")] * 5


def test_a_record_may_become_what_another_one_was():
    records = {A: make_post("1"), B: make_post("2"), C: {"x": make_strong_ref(A, make_block(make_post("1"))[0])}}
    swap = {"1": "2", "2": "1"}
    after = converted(records, Made(lambda _, record: record | {"text": swap[record["text"]]}))
    assert (after[A], after[B]) == (make_post("2"), make_post("1"))
    assert after[C] == {"x": make_strong_ref(A, make_block(make_post("2"))[0])}


def test_a_strong_reference_that_a_transform_makes_is_made_right_if_its_record_is_settled_by_then():
    """It cannot know the new CID. Records are settled by their keys, those that others have waited for before."""
    old = make_strong_ref(A, make_block(make_post("a"))[0])
    change = Made(lambda name, record: record | ({"ref": old} if name == uri(B) else {"x": 1}))
    after = converted({A: make_post("a"), B: make_post("b")}, change)
    assert after[B]["ref"] == make_strong_ref(A, make_block(after[A])[0])


def test_a_strong_reference_that_a_transform_makes_to_what_changes_later_is_a_fault():
    """Two such references could wait for each other."""
    old = make_strong_ref(B, make_block(make_post("b"))[0])
    change = Made(lambda name, record: record | ({"ref": old} if name == uri(A) else {"x": 1}))
    with pytest.raises(EuroskyError, match="made") as caught:
        converted({A: make_post("a"), B: make_post("b")}, change)
    assert A in caught.value.message
    assert B in caught.value.message


def test_a_survey_that_changes_the_record_changes_nothing():
    class Meddling(Made):
        def survey(self, record: Any) -> None:
            record["text"] = "changed"

    assert convert(make_repo_car({A: make_post()}), transforms=[Meddling()]).data is None


# faults


def fails(_: str, record: dict[str, Any]) -> Any:
    raise KeyError("a fault of the plugin's")


CYCLE: dict[str, Any] = {}
CYCLE["self"] = CYCLE
DEEP: Any = {}
for _ in range(dag_cbor.MAX_DEPTH + 10):
    DEEP = {"x": DEEP}
NONSENSE: dict[str, Any] = {
    "that raises": fails,
    "that recurses for ever": lambda *arguments: NONSENSE["that recurses for ever"](*arguments),
    "that returns nothing": lambda *_: None,
    "that returns a list": lambda *_: [],
    "that returns a number": lambda *_: 5,
    "that returns its block": lambda _, record: dag_cbor.encode(record),
    "that returns the pairs": lambda _, record: tuple(record.items()),
    "that returns a kind of dict": lambda _, record: type("Odd", (dict,), {})(record),
    "that puts a float in": added(x=1.5),
    "that puts a set in": added(x={1}),
    "that puts a tuple in": added(x=(1,)),
    "that puts itself in": added(x=Made),
    "that puts a number for a key in": lambda _, record: record | {5: 5},
    "that puts half a surrogate in": added(x="\ud800"),
    "that puts half a surrogate in a key": lambda _, record: record | {"\ud800": 1},
    "that puts too large a number in": added(x=2**64),
    "that puts a cycle in": added(x=CYCLE),
    "that puts 300 maps in each other in": added(x=DEEP),
    "that makes the record larger than a block can be": added(x="x" * (MAX_BLOCK_BYTES + 1)),
}


@pytest.mark.parametrize("change", NONSENSE.values(), ids=NONSENSE)
def test_a_transform_at_fault_ends_the_conversion_and_record_and_transform_are_named(change):
    with pytest.raises(EuroskyError) as caught:
        converted({A: make_post()}, LegacyBlobs(), Made(change))
    assert caught.value.code == "transform_failed"
    assert uri(A) in caught.value.message
    assert "made" in caught.value.message
    assert len(caught.value.message) < 1_000
    assert caught.value.hint


def test_the_one_of_several_transforms_that_is_at_fault_is_named():
    for faulty in range(3):
        transforms = [Made(NONSENSE["that puts a float in"] if n == faulty else added(n=n), f"t{n}") for n in range(3)]
        with pytest.raises(EuroskyError) as caught:
            converted({A: make_post()}, *transforms)
        assert f"t{faulty}" in caught.value.message


def test_the_cause_of_a_fault_is_kept_for_whoever_has_to_mend_it():
    with pytest.raises(EuroskyError) as caught:
        converted({A: make_post()}, Made(fails))
    assert isinstance(caught.value.__cause__, KeyError)
    assert "KeyError" in caught.value.message


class Panic(BaseException):
    """As libraries in Rust have it."""


@pytest.mark.parametrize("step", ["scan", "survey", "prepare", "counts", "transform"])
@pytest.mark.parametrize("kind", [ValueError, Panic])
def test_a_fault_in_any_step_names_the_transform(step, kind):
    transform = Made(added(x=1))

    def fault(*_: Any) -> Any:
        raise kind("a fault of the plugin's")

    setattr(transform, step, fault)
    with pytest.raises(EuroskyError) as caught:
        converted({A: make_post()}, transform)
    assert caught.value.code == "transform_failed"
    assert "made" in caught.value.message


def test_an_error_of_ours_ends_the_conversion_as_it_is():
    fault = PermanentError("not this one", code="request_refused")

    def change(*_: Any) -> Any:
        raise fault

    with pytest.raises(PermanentError) as caught:
        converted({A: make_post()}, Made(change))
    assert caught.value is fault


def test_an_interruption_is_not_taken_for_a_fault():
    def change(*_: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        converted({A: make_post()}, Made(change))


@pytest.mark.parametrize("counts", [None, [], {"n": "many"}, {"n": None}])
def test_counts_that_are_none_are_a_fault(counts):
    transform = Made(added(x=1))
    transform.counts = lambda: counts  # type: ignore[method-assign]
    with pytest.raises(EuroskyError, match="made"):
        converted({A: make_post()}, transform)


def test_counts_that_fail_leave_no_file():
    """The adapter looks for one."""
    transform = Made(added(x=1))
    transform.counts = lambda: 1 // 0  # type: ignore[method-assign]
    with pytest.raises(EuroskyError, match="made"):
        converted({A: make_post()}, transform)


def node_that_is_a_record() -> tuple[bytes, str]:
    """A key whose record is the very block that also is the subtree before it."""
    high = next(keys_at_height(1))
    low = next(key for key in keys_at_height(0) if key < high)
    nodes: dict[Cid, bytes] = {}
    post = make_block(make_post())
    subtree = mst.build([(low, post[0])], nodes.__setitem__)
    tree = mst.build([(low, post[0]), (high, subtree)], nodes.__setitem__)
    commit = make_block({"did": DID, "version": 3, "data": tree, "rev": REV, "prev": None, "sig": bytes(64)})
    assert mst.parse_node(nodes[tree]).left == subtree
    return make_car(commit[0], [commit, *nodes.items(), post]), high.decode()


def test_a_record_that_is_a_tree_node_too_may_change_while_the_node_stays():
    class Every(Made):
        scan = RecordTransform.scan

    data, key = node_that_is_a_record()
    transform = Every(lambda name, record: record | {"x": 1} if name == uri(key) else record)
    outcome = convert(data, transforms=[transform])
    assert plain_convert.read(outcome.data).records[key]["x"] == 1
    with saved(outcome.data) as path:
        assert verify_car(path).is_whole


def test_a_scan_that_wants_a_block_that_is_no_record_gets_no_record():
    class Every(Made):
        scan = RecordTransform.scan

    repo = make_repo({A: make_post()})
    junk = [(cid_of(b"\xff"), b"\xff"), make_block(5), (cid_of(b"", CODEC_RAW), b"")]
    transform = Every(added(x=1))
    outcome = convert(make_car(repo.root, [*junk, *repo.blocks]), transforms=[transform])
    assert plain_convert.read(outcome.data).records == {A: make_post(x=1)}
    assert outcome.counts == {"transformed": 1}
