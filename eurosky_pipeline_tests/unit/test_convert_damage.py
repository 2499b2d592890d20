"""Damaged files: refused, or copied as they are; never taken for whole ones."""

from typing import Any

import pytest

from eurosky_pipeline.atproto import mst
from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.atproto.verify import verify_car
from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.plugins.record_transforms import RecordTransform
from eurosky_pipeline_tests import plain_convert
from eurosky_pipeline_tests.builders import (
    DID,
    REV,
    make_block,
    make_car,
    make_post,
    make_posts,
    make_repo,
    make_repo_car,
)
from eurosky_pipeline_tests.converting import PICTURE, POST, SIZES, convert, is_whole, saved, tall_repo
from eurosky_pipeline_tests.damage import DAMAGES


class Touch(RecordTransform):
    """Changes the posts that the good half of every damaged file has, so that there is always something to write."""

    name, version = "touch", "1"

    def scan(self, block: bytes) -> bool:
        return b"post 1" in block

    def transform(self, uri: str, record: dict[str, Any]) -> dict[str, Any]:
        return record | {"touched": True}


def kinds(data: bytes) -> list[str]:
    """What `verify_car` finds wrong."""
    with saved(data) as path:
        return sorted(problem.kind for problem in verify_car(path).problems)


MISPLACED = {
    "tree: two subtrees swapped",
    "tree: a subtree on the wrong side",
    "tree: all keys in one node",
    "tree: a root without an entry",
    "tree: an empty node in place of a subtree",
    "tree: a subtree hung one height too high",
    "tree: a subtree hung one height too low",
}
"""Each node is one, and hangs at a wrong place: `car verify` judges that, and a conversion leaves it as it is."""


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_refused_or_nothing_is_written(name):
    """What is damaged in most of them is a part that a change would need; see the next test for the others."""
    was_whole = not kinds(DAMAGES[name])
    try:
        outcome = convert(DAMAGES[name], transforms=[Touch()])
    except EuroskyError as error:
        said = error.message
        assert not was_whole
        assert 0 < len(said) < 1_500
    else:
        assert outcome.data is not None or not was_whole
        assert outcome.data is None or is_whole(outcome.data) or name in MISPLACED


@pytest.mark.parametrize("name", [name for name in DAMAGES if name.startswith(("file: ", "commit: "))])
def test_a_file_without_its_parts_is_refused_though_there_be_nothing_to_change(name):
    was_whole = not kinds(DAMAGES[name])
    try:
        outcome = convert(DAMAGES[name])
    except EuroskyError:
        assert not was_whole
    else:
        assert was_whole
        assert outcome.data is None


def damaged_record(name: str) -> tuple[Cid, bytes]:
    _, blocks = plain_convert.read_blocks(DAMAGES[name])
    return next((Cid(cid), data) for cid, data in reversed(blocks.items()))


@pytest.mark.parametrize("name", [name for name in DAMAGES if name.startswith("record: ")])
def test_a_damaged_record_beside_one_that_changes_is_refused_or_copied_as_it_is(name):
    """What does not have to be changed is not decoded. Nothing gets better by it, and nothing worse."""
    bad, good = damaged_record(name), make_block(PICTURE)
    nodes: dict[Cid, bytes] = {}
    tree = mst.build([(f"{POST}/a".encode(), good[0]), (f"{POST}/b".encode(), bad[0])], nodes.__setitem__)
    commit = make_block({"did": DID, "version": 3, "data": tree, "rev": REV, "prev": None, "sig": bytes(64)})
    data = make_car(commit[0], [commit, *nodes.items(), good, bad])
    assert len(kinds(data)) == 1
    try:
        outcome = convert(data, SIZES)
    except EuroskyError:
        return
    assert kinds(outcome.data) == kinds(data)
    assert plain_convert.read_blocks(outcome.data)[1][bad[0]] == bad[1]


@pytest.mark.parametrize("name", [name for name in DAMAGES if name.startswith("record: ")])
def test_a_damaged_record_that_has_to_change_is_refused(name):
    class Every(Touch):
        scan = RecordTransform.scan

    with pytest.raises(EuroskyError) as caught:
        convert(DAMAGES[name], transforms=[Every()])
    assert "app.bsky.feed.post/self" in caught.value.message


def test_every_truncation_of_a_file_is_refused_also_where_nothing_changes():
    data = make_repo_car({f"{POST}/a": PICTURE, f"{POST}/b": make_post()})
    for length in range(len(data)):
        for sizes in (SIZES, {}):
            with pytest.raises(EuroskyError):
                convert(data[:length], sizes)


def test_every_block_that_is_missing_is_missed():
    repo = tall_repo(40)
    for missing in repo.blocks:
        with pytest.raises(EuroskyError):
            convert(make_car(repo.root, [block for block in repo.blocks if block != missing]), SIZES)


def test_every_missing_block_is_missed_where_nothing_changes_too():
    repo = make_repo(make_posts(40))
    for missing in repo.blocks:
        with pytest.raises(EuroskyError):
            convert(make_car(repo.root, [block for block in repo.blocks if block != missing]), SIZES)


@pytest.mark.parametrize("sizes", [SIZES, {}], ids=["where something changes", "where nothing does"])
def test_a_missing_block_is_missed_though_others_stand_in_its_place(sizes):
    """A copy of another block, or an orphan, or many: counting blocks is not enough."""
    repo = make_repo(make_posts(8) | {f"{POST}/a": PICTURE})
    orphans = [make_block({"orphan": n}) for n in range(3)]
    for missing in repo.blocks:
        rest = [block for block in repo.blocks if block != missing]
        raw = (cid_of(missing[1], CODEC_RAW), missing[1])
        for more in (rest[:1], rest[-1:], rest[-1:] * 2, rest, orphans[:1], orphans, [*orphans, *rest], [raw]):
            with pytest.raises(EuroskyError):
                convert(make_car(repo.root, [*rest, *more]), sizes)


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_any_block_may_stand_there_several_times(copies):
    repo = make_repo(make_posts(8) | {f"{POST}/a": PICTURE, f"{POST}/b": PICTURE})
    orphan = make_block({"an": "orphan"})
    for block in [*repo.blocks, orphan]:
        for blocks in ([*[block] * copies, *repo.blocks], [*repo.blocks, *[block] * copies]):
            outcome = convert(make_car(repo.root, blocks), SIZES)
            assert is_whole(outcome.data)
            assert outcome.conversion.blocks_dropped == copies
    outcome = convert(make_car(repo.root, repo.blocks * (1 + copies)), SIZES)
    assert is_whole(outcome.data)
    assert outcome.conversion.blocks_dropped == copies * len(repo.blocks)
