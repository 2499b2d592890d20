"""The ways to changed records, found from below, and by a walk where they cannot be: with one result."""

from collections.abc import Sequence

import pytest

from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.atproto.commit import VOID_SIGNATURE, Commit, encode_commit
from eurosky_pipeline.atproto.mst_node import Entry, Node, encode_node
from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline_tests import plain_convert
from eurosky_pipeline_tests.builders import DID, REV, Block, make_block, make_car, make_post, make_posts, make_repo
from eurosky_pipeline_tests.converting import PICTURE, POST, SIZES, convert, is_whole

PICTURED = make_block(PICTURE)
RECORDS = [make_block(make_post(f"number {number}")) for number in range(4)]


def node(left: Cid | None, *entries: tuple[str, Cid, Cid | None]) -> Block:
    data = encode_node(Node(left, tuple(Entry(f"{POST}/{rkey}".encode(), *links) for rkey, *links in entries)))
    return cid_of(data), data


def car(root: Cid, blocks: Sequence[Block]) -> bytes:
    """A repository whose tree has this root, however it is made."""
    commit = encode_commit(Commit(DID, 3, root, REV, None, VOID_SIGNATURE))
    return make_car(cid_of(commit), [(cid_of(commit), commit), *blocks])


@pytest.mark.parametrize("orphans", [0, 1], ids=["from below", "by a walk"])
@pytest.mark.parametrize("count", [1, 2, 30, 300])
def test_every_record_is_found_wherever_it_hangs(count, orphans):
    """One record after another, and all at once; an orphan makes the conversion walk."""
    keys = list(make_posts(count))
    spare = [make_block({"an": "orphan"})] * orphans
    for changed in [keys, *([key] for key in keys[:: max(1, count // 5)])]:
        repo = make_repo(make_posts(count) | {key: PICTURE | {"text": key} for key in changed})
        outcome = convert(make_car(repo.root, [*repo.blocks, *spare]), SIZES)
        assert is_whole(outcome.data)
        assert outcome.conversion.records_changed == len(changed)
        assert outcome.conversion.blocks_dropped == orphans
        found = plain_convert.read(outcome.data).records
        assert [key for key in keys if found[key] != make_posts(count)[key]] == changed


def test_both_ways_give_the_same_blocks():
    changes = dict.fromkeys(list(make_posts(200))[::9], PICTURE)
    repo = make_repo(make_posts(200) | changes)
    below = convert(make_car(repo.root, repo.blocks), SIZES)
    walked = convert(make_car(repo.root, [*repo.blocks, make_block({"an": "orphan"})]), SIZES)
    assert plain_convert.read_blocks(below.data) == plain_convert.read_blocks(walked.data)
    assert below.conversion.root == walked.conversion.root


def test_a_node_beside_the_way_is_not_looked_at_and_stays():
    """The commit's tree is none, and no changed record hangs under the node that is at fault: `car verify` tells."""
    wrong = node(None, ("z", RECORDS[0][0], None), ("a", RECORDS[1][0], None))
    top = node(wrong[0], ("b", PICTURED[0], None))
    outcome = convert(car(top[0], [top, wrong, *RECORDS[:2], PICTURED]), SIZES)
    assert outcome.conversion.records_changed == 1
    assert wrong[1] in outcome.data


def test_a_node_on_the_way_is_read_strictly():
    wrong = node(None, ("z", PICTURED[0], None), ("a", RECORDS[1][0], None))
    top = node(wrong[0], ("b", RECORDS[2][0], None))
    with pytest.raises(EuroskyError, match="keys out of order"):
        convert(car(top[0], [top, wrong, PICTURED, *RECORDS[1:3]]), SIZES)


def test_where_a_record_hangs_as_a_node_and_a_node_as_a_record_no_way_holds():
    """Nothing is missing and the numbers are right, so that sums cannot tell; what changes hangs under no node."""
    fake = node(None, ("a", PICTURED[0], None))
    top = node(RECORDS[0][0], ("b", fake[0], None), ("c", RECORDS[1][0], None))
    data = car(top[0], [top, fake, PICTURED, *RECORDS[:2]])
    with pytest.raises(EuroskyError):
        convert(data, SIZES)


@pytest.mark.parametrize(("depth", "is_refused"), [(100, False), (140, True)])
def test_a_tree_deeper_than_any_is_refused_also_where_each_step_is_short(depth, is_refused):
    """Each of its nodes holds a record that changes, so that no way from one to the next is long."""
    below, blocks = None, [PICTURED]
    for number in range(depth):
        below, data = node(below, (f"{number:04}", PICTURED[0], None))
        blocks.append((below, data))
    data = car(below, blocks)
    if is_refused:
        with pytest.raises(EuroskyError, match="deeper"):
            convert(data, SIZES)
    else:
        outcome = convert(data, SIZES)
        assert outcome.conversion.records_changed == depth
        assert len(plain_convert.read_blocks(outcome.data)[1]) == depth + 2


def test_a_block_that_is_there_twice_beside_a_record_of_two_keys_is_left_out():
    """The numbers of blocks and links are the same: only hashes that are taken once tell."""
    repo = make_repo(make_posts(5) | {f"{POST}/a": PICTURE, f"{POST}/b": PICTURE})
    for twice in repo.blocks:
        outcome = convert(make_car(repo.root, [*repo.blocks, twice]), SIZES)
        assert is_whole(outcome.data)
        assert outcome.conversion.blocks_dropped == 1
