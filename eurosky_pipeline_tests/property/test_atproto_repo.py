"""Trees, CAR files and repositories: what goes in comes out, and damage is never read as something smaller."""

import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eurosky_pipeline.atproto.blob_refs import find_blob_refs
from eurosky_pipeline.atproto.car import CarReader
from eurosky_pipeline.atproto.cid import cid_of
from eurosky_pipeline.atproto.mst import build, parse_node, walk
from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.atproto.verify import verify_car
from eurosky_pipeline.errors import IntegrityError
from eurosky_pipeline_tests.builders import (
    keys_at_height,
    make_blob_ref,
    make_car,
    make_legacy_blob_ref,
    make_posts,
    make_repo,
    make_repo_car,
)

characters = st.sampled_from("abcXYZ019._:~-")
segments = st.text(characters, min_size=1, max_size=12)
keys = st.builds(lambda one, other: f"{one}/{other}".encode(), segments, segments)
entries = st.dictionaries(keys, st.binary(max_size=4).map(cid_of), max_size=60)


def read_records(path: Path, data: bytes) -> dict[str, object]:
    path.write_bytes(data)
    with open_repo(path) as repo:
        return {record.key: record.value for record in repo.records()}


@pytest.fixture(scope="module")
def path():
    """In memory, where the system has a folder there: a thousand files a second are written over each other."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="eurosky-test-", dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder) / "repo.car"


@given(entries)
def test_a_tree_gives_back_its_entries_in_order(tree):
    nodes = {}
    root = build(tree.items(), nodes.__setitem__)
    assert list(walk(root, nodes.__getitem__)) == sorted(tree.items())


@given(entries, st.randoms(use_true_random=False))
def test_a_trees_nodes_depend_on_its_entries_and_not_on_their_order(tree, random):
    nodes, again = {}, {}
    items = list(tree.items())
    root = build(items, nodes.__setitem__)
    random.shuffle(items)
    assert build(items, again.__setitem__) == root
    assert again == nodes


@given(entries, entries)
def test_two_trees_have_the_same_root_only_if_they_are_the_same(one, other):
    roots = [build(tree.items(), lambda *_: None) for tree in (one, other)]
    assert (roots[0] == roots[1]) == (one == other)


@settings(max_examples=50)
@given(st.integers(0, 40), st.integers(0, 3), st.integers(0, 5))
def test_a_repository_gives_back_its_records(path, records, orphans, duplicates):
    posts = make_posts(records)
    data = make_repo_car(posts, orphans=[{"orphan": n} for n in range(orphans)], duplicates=duplicates)
    assert read_records(path, data) == posts


@settings(max_examples=50)
@given(st.integers(1, 30), st.data())
def test_a_repository_without_some_of_its_blocks_is_refused(path, records, data):
    repo = make_repo(make_posts(records))
    lost = data.draw(st.sets(st.sampled_from([cid for cid, _ in repo.blocks]), min_size=1))
    kept = [block for block in repo.blocks if block[0] not in lost]
    with pytest.raises(IntegrityError):
        read_records(path, make_car(repo.root, kept))


@given(st.binary(min_size=1, max_size=200))
def test_bytes_of_any_kind_after_a_car_are_refused(tail):
    data = make_repo_car(make_posts(1))
    with pytest.raises(IntegrityError):
        list(CarReader(io.BytesIO(data + tail)))


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_no_car(data):
    with pytest.raises(IntegrityError):
        list(CarReader(io.BytesIO(data)))


def some_keys(*heights: int) -> list[str]:
    """A key at each of these heights, rising."""
    found = [next(keys_at_height(heights[0]))]
    for height in heights[1:]:
        found.append(next(key for key in keys_at_height(height) if key > found[-1]))
    return [key.decode() for key in found]


SMALL_REPOS = {
    "no record": [],
    "a gap between heights": some_keys(3, 0),
    "subtrees on both sides": some_keys(0, 1, 0, 1, 0),
}
small_repos = pytest.mark.parametrize(
    "records", [{key: {"n": n} for n, key in enumerate(keys)} for keys in SMALL_REPOS.values()], ids=SMALL_REPOS
)


def is_whole(path: Path, data: bytes) -> bool:
    """By both readers: the one that raises at the first fault, and the one that collects them all."""
    try:
        read_records(path, data)
    except IntegrityError:
        is_raised = True
    else:
        is_raised = False
    found = verify_car(path)
    assert found.is_whole != is_raised
    assert found.is_whole == (not found.problems)
    return found.is_whole


def test_the_small_repositories_have_several_heights_and_subtrees_of_each_kind():
    nodes = [
        [parse_node(data) for _, data in make_repo({key: {"n": 0} for key in keys}).nodes]
        for keys in SMALL_REPOS.values()
    ]
    _, gap, both_sides = nodes
    assert [(len(node.entries), node.left is not None) for node in gap] == [
        (1, False),
        (0, True),
        (0, True),
        (1, False),
    ]
    assert any(node.left and all(entry.right for entry in node.entries) for node in both_sides)


@small_repos
def test_every_single_flipped_bit_of_a_repository_is_refused(path, records):
    """Also in orphans and duplicates: every block is hashed, and the header's root must be there."""
    data = make_repo_car(records, orphans=[{"old": 1}], duplicates=1)
    assert is_whole(path, data)
    for place in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        assert not is_whole(path, bytes(flipped)), place


@small_repos
def test_every_truncation_of_a_repository_is_refused(path, records):
    data = make_repo_car(records)
    assert is_whole(path, data)
    for length in range(len(data)):
        assert not is_whole(path, data[:length]), length


@small_repos
def test_every_byte_put_in_or_taken_out_is_refused(path, records):
    data = make_repo_car(records)
    for place in range(len(data)):
        assert not is_whole(path, data[:place] + data[place + 1 :]), place
        assert not is_whole(path, data[:place] + b"\x24" + data[place:]), place


refs = st.sampled_from([make_blob_ref(b"1"), make_blob_ref(b"2"), make_legacy_blob_ref(b"3")])
records = st.recursive(
    refs | st.none() | st.text(max_size=5) | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


@given(records)
def test_every_reference_is_found_as_often_as_it_stands_there(record):
    def count(value):
        if isinstance(value, dict) and "mimeType" in value:
            return 1
        if isinstance(value, dict):
            return sum(map(count, value.values()))
        return sum(map(count, value)) if isinstance(value, list) else 0

    found = list(find_blob_refs(record))
    assert len(found) == count(record)
    assert all(ref.is_legacy == (ref.mime_type == "image/jpeg") for ref in found)
