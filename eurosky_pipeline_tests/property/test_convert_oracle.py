"""The conversion, held against the plain one in `plain_convert`, on repositories that are full of traps."""

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eurosky_pipeline.atproto.blob_refs import find_blob_refs
from eurosky_pipeline.atproto.commit import VOID_SIGNATURE, parse_commit, verify_signature
from eurosky_pipeline.atproto.keys import Curve, parse_signing_key
from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.atproto.verify import verify_car
from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline_tests import plain_convert
from eurosky_pipeline_tests.converting import Outcome, convert, saved
from eurosky_pipeline_tests.plain_convert import Expected, NoRev, SizeUnknown
from eurosky_pipeline_tests.property.legacy_repos import Story, stories

KEYS = {
    Curve.K256: parse_signing_key("f8126" + "00" * 31 + "07"),
    Curve.P256: parse_signing_key("f8626" + "00" * 31 + "07"),
}
policies = st.sampled_from(["keep", "keep", "sentinel", "fail"])


def converted(story: Story, unknown: str = "keep", **options: object) -> tuple[Outcome, Expected] | None:
    """By both; None where both say that it cannot be done."""
    try:
        expected = plain_convert.convert(story.car, story.sizes, unknown)
    except (SizeUnknown, NoRev) as why:
        with pytest.raises(EuroskyError) as caught:
            convert(story.car, story.sizes, unknown=unknown, **options)
        is_size = isinstance(why, SizeUnknown)
        return pytest.fail("another error") if is_size != (caught.value.code == "blob_size_unknown") else None
    return convert(story.car, story.sizes, unknown=unknown, **options), expected


def result(story: Story, outcome: Outcome) -> bytes:
    """What the caller passes on."""
    return story.car if outcome.data is None else outcome.data


@settings(max_examples=400)
@given(stories(), policies)
def test_the_plain_conversion_gives_the_same_in_every_count_key_value_and_root(story, unknown):
    both = converted(story, unknown)
    if both is None:
        return
    outcome, expected = both
    conversion, after = outcome.conversion, plain_convert.read(result(story, outcome))
    assert after.records == expected.records
    assert after.cids == expected.cids
    assert list(after.records) == sorted(story.records)
    assert (conversion.did, conversion.records) == (story.did, len(story.records))
    assert conversion.records_changed == expected.records_changed
    assert conversion.strong_refs_rewritten == expected.strong_refs_rewritten
    assert conversion.is_changed == (expected.records_changed > 0) == (outcome.data is not None)
    assert [(name, version) for name, version, _ in conversion.transforms] == [("legacy_blobs", "1")]
    told = expected.asked & {cid for cid, size in story.sizes.items() if 0 < size < 2**53}
    assert dict(outcome.counts) == {
        "refs_found": expected.refs_found,
        "refs_converted": expected.refs_converted,
        "refs_kept": expected.refs_kept,
        "distinct_blobs": expected.distinct_blobs,
        "sizes_known": expected.sizes_known,
        "sizes_asked": len(expected.asked),
        "sizes_unknown": len(expected.asked - told),
    }


@settings(max_examples=200)
@given(stories(), policies)
def test_what_comes_out_is_whole_and_canonical_and_holds_nothing_twice_or_for_nothing(story, unknown):
    both = converted(story, unknown)
    if both is None or both[0].data is None:
        return
    outcome, expected = both
    conversion = outcome.conversion
    root, blocks = plain_convert.read_blocks(outcome.data)
    with saved(outcome.data) as path:
        found = verify_car(path)
    assert found.problems == ()
    assert (found.orphan_blocks, found.duplicate_blocks) == (0, 0)
    assert (found.did, found.rev, found.root) == (story.did, expected.rev, str(conversion.root))
    commit = parse_commit(blocks[root])
    assert (commit.version, commit.did, commit.data) == (3, story.did, expected.tree)
    assert (commit.rev, commit.prev, commit.sig) == (expected.rev, None, VOID_SIGNATURE)
    assert conversion.root == root
    assert (conversion.rev, conversion.signature) == (expected.rev, "void")
    assert conversion.size_bytes == len(outcome.data)
    before = plain_convert.read_nodes(story.car)
    assert conversion.nodes_rewritten == len(plain_convert.read_nodes(outcome.data) - before)
    reached = {plain_convert.read_blocks(story.car)[0]} | before | set(plain_convert.read(story.car).cids.values())
    assert conversion.blocks_dropped == plain_convert.count_blocks(story.car) - len(reached)


@settings(max_examples=200)
@given(stories(), policies)
def test_where_nothing_changes_nothing_is_written_and_the_old_root_and_signature_stand(story, unknown):
    both = converted(story, unknown, key=KEYS[Curve.K256])
    if both is None or both[1].records_changed:
        return
    outcome, _ = both
    root, blocks = plain_convert.read_blocks(story.car)
    assert outcome.data is None
    assert not outcome.conversion.is_changed
    assert (outcome.conversion.root, outcome.conversion.signature) == (root, "kept")
    assert outcome.conversion.rev == parse_commit(blocks[root]).rev
    assert outcome.conversion.strong_refs_rewritten == 0
    assert outcome.conversion.nodes_rewritten == 0


@settings(max_examples=200)
@given(stories(), policies)
def test_only_what_the_repository_does_not_tell_is_asked_for_once_and_together(story, unknown):
    try:
        expected = plain_convert.convert(story.car, story.sizes, unknown)
    except (SizeUnknown, NoRev):
        return
    asked = convert(story.car, story.sizes, unknown=unknown).asked
    assert len(asked) <= 1
    assert sorted(cid for call in asked for cid in call) == sorted(expected.asked)


@settings(max_examples=150)
@given(stories(), st.sampled_from(["keep", "sentinel"]))
def test_a_second_conversion_changes_nothing(story, unknown):
    with contextlib.suppress(EuroskyError):
        first = convert(story.car, story.sizes, unknown=unknown)
        once = result(story, first)
        if first.conversion.blocks_dropped:  # one that contradicted the size that another reference claims, say
            once = result(replace(story, car=once), convert(once, story.sizes, unknown=unknown))
        again = convert(once, story.sizes, unknown=unknown)
        assert again.data is None
        assert again.conversion.strong_refs_rewritten == 0


@settings(max_examples=150)
@given(stories(), policies)
def test_the_same_input_gives_the_same_bytes(story, unknown):
    with contextlib.suppress(EuroskyError):
        one, other = (convert(story.car, story.sizes, unknown=unknown) for _ in range(2))
        assert one == other


@settings(max_examples=150)
@given(stories())
def test_a_record_keeps_its_cid_unless_it_holds_a_legacy_reference_or_names_a_record_that_moved(story):
    """Said once more without the plain conversion, by looking at the input and the output alone."""
    try:
        outcome = convert(story.car, story.sizes, unknown="sentinel")
    except EuroskyError:
        return
    before, after = plain_convert.read(story.car), plain_convert.read(result(story, outcome))
    assert before.cids.keys() == after.cids.keys()
    moved = {f"at://{story.did}/{key}" for key, cid in before.cids.items() if after.cids[key] != cid}
    for key, record in before.records.items():
        has_legacy = any(ref.is_legacy for ref in find_blob_refs(record))
        assert (before.cids[key] != after.cids[key]) <= (has_legacy or any(uri in repr(record) for uri in moved))
        assert has_legacy <= (before.cids[key] != after.cids[key])
    assert not any(ref.is_legacy for record in after.records.values() for ref in find_blob_refs(record))


@settings(max_examples=60)
@given(stories(), st.sampled_from(Curve))
def test_a_signing_key_signs_what_is_changed_and_nothing_else_differs(story, curve):
    with contextlib.suppress(EuroskyError):
        void = convert(story.car, story.sizes)
        outcome = convert(story.car, story.sizes, key=KEYS[curve])
        if void.data is None:
            assert outcome.data is None
            return
        assert outcome.conversion.signature == "signed"
        root, blocks = plain_convert.read_blocks(outcome.data)
        void_root, void_blocks = plain_convert.read_blocks(void.data)
        verify_signature(parse_commit(blocks[root]), KEYS[curve].public_key)
        assert list(blocks)[1:] == list(void_blocks)[1:]
        assert (next(iter(blocks)), next(iter(void_blocks))) == (root, void_root)
        with saved(outcome.data) as path:
            assert verify_car(path, key=KEYS[curve].public_key).is_whole


@settings(max_examples=100)
@given(stories(), policies)
def test_the_reader_that_the_pipeline_uses_reads_what_comes_out(story, unknown):
    both = converted(story, unknown)
    if both is None:
        return
    outcome, expected = both
    with saved(result(story, outcome)) as path, open_repo(path) as repo:
        assert {record.key: record.value for record in repo.records()} == expected.records
