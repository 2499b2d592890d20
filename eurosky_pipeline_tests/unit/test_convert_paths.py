"""The ways to changed records, found from below, and by a walk where they cannot be: with one result."""

from collections.abc import Sequence

import pytest

from eurosky_pipeline.atproto import mst
from eurosky_pipeline.atproto.cid import DAG_CBOR_PREFIX, Cid, cid_of
from eurosky_pipeline.atproto.commit import VOID_SIGNATURE, Commit, encode_commit
from eurosky_pipeline.atproto.dag_cbor import LINK_HEAD
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


def of_records(records: dict[str, Block], *spare: Block) -> bytes:
    """A repository of these blocks as records, whatever they look like."""
    nodes: dict[Cid, bytes] = {}
    tree = mst.build(((key.encode(), cid) for key, (cid, _) in sorted(records.items())), nodes.__setitem__)
    return car(tree, [*nodes.items(), *dict(records.values()).items(), *spare])


ORPHAN = make_block({"an": "orphan"})
A_LINK_CUT_SHORT = LINK_HEAD + DAG_CBOR_PREFIX
LIKE_A_NODE = {
    "a node that leads to an orphan": (node(ORPHAN[0]), [ORPHAN]),
    "a node with an entry": (node(None, ("x", ORPHAN[0], None)), [ORPHAN]),
    "a node that leads to what changes": (node(None, ("x", PICTURED[0], None)), []),
    "a link to what changes": (make_block({"e": 1, "f": PICTURED[0]}), []),
    "a link in a list": (make_block({"e": [PICTURED[0]], "f": 1}), []),
    "a link, and one cut short": (make_block({"e": PICTURED[0], "x": A_LINK_CUT_SHORT}), []),
    "a link that is cut short": (make_block({"e": b"", "x": A_LINK_CUT_SHORT}), []),
}


@pytest.mark.parametrize("has_picture", [True, False])
@pytest.mark.parametrize("name", LIKE_A_NODE)
def test_a_record_that_looks_like_a_node_is_a_record(name, has_picture):
    like, spare = LIKE_A_NODE[name]
    records = dict(make_repo(make_posts(40)).records)
    records |= {f"{POST}/like": like, f"{POST}/zz": PICTURED if has_picture else RECORDS[0]}
    named = [] if has_picture else [PICTURED]
    outcome = convert(of_records(records, *spare, *named), SIZES)
    assert outcome.conversion.records == len(records)
    if has_picture:
        assert is_whole(outcome.data)
        assert (outcome.conversion.records_changed, outcome.conversion.blocks_dropped) == (1, len(spare))


def test_links_that_are_cut_short_shift_no_others():
    """In a piece of their own, what stands behind them is read as if it were theirs."""
    linked = make_block(make_post("linked"))
    like = make_block({"e": linked[0], "x": A_LINK_CUT_SHORT})
    pad = make_block(make_post("x" * 70_000))
    left, right = node(None, ("a", linked[0], None)), node(None, ("z", PICTURED[0], None))
    root = node(left[0], ("b", like[0], None), ("c", pad[0], None), ("d", PICTURED[0], right[0]))
    outcome = convert(car(root[0], [root, like, pad, left, right, PICTURED, linked]), SIZES)
    assert (outcome.conversion.records, outcome.conversion.records_changed) == (5, 2)
    assert PICTURED[1] not in outcome.data
    assert len(plain_convert.read_blocks(outcome.data)[1]) == 8


def test_a_link_that_is_swallowed_is_no_reason_to_keep_the_old_record():
    like = LIKE_A_NODE["a link that is cut short"][0]
    root = node(None, ("d", PICTURED[0], None), ("f", like[0], None))
    outcome = convert(car(root[0], [like, root, PICTURED]), SIZES)
    assert PICTURED[1] not in outcome.data


@pytest.mark.parametrize("spare", [[], [ORPHAN]], ids=["from below", "by a walk"])
def test_a_key_in_two_nodes_is_refused(spare):
    other = make_block(PICTURE | {"text": "other"})
    below = node(None, ("k", other[0], None))
    top = node(below[0], ("k", PICTURED[0], None))
    with pytest.raises(EuroskyError, match="two nodes"):
        convert(car(top[0], [top, below, PICTURED, other, *spare]), SIZES)


def test_a_block_that_is_there_twice_beside_a_record_of_two_keys_is_left_out():
    """The numbers of blocks and links are the same: only hashes that are taken once tell."""
    repo = make_repo(make_posts(5) | {f"{POST}/a": PICTURE, f"{POST}/b": PICTURE})
    for twice in repo.blocks:
        outcome = convert(make_car(repo.root, [*repo.blocks, twice]), SIZES)
        assert is_whole(outcome.data)
        assert outcome.conversion.blocks_dropped == 1
