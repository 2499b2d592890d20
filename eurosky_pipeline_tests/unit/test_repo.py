"""A repository in a file: whole, or an error that says what is missing and where."""

import os

import pytest

from eurosky_pipeline.atproto import dag_cbor, mst
from eurosky_pipeline.atproto.car import CarError
from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.atproto.commit import VOID_SIGNATURE, Commit, encode_commit
from eurosky_pipeline.atproto.repo import RepoError, RepoFile, open_repo
from eurosky_pipeline.atproto.varint import encode_varint
from eurosky_pipeline.errors import IntegrityError
from eurosky_pipeline_tests.builders import (
    DID,
    OTHER_DID,
    REV,
    make_block,
    make_car,
    make_post,
    make_posts,
    make_repo,
    make_repo_car,
)

POSTS = make_posts(30)


@pytest.fixture
def opened(tmp_path):
    """Open a repository from bytes; what was opened is closed at the end."""
    repos: list[RepoFile] = []

    def open_bytes(data: bytes) -> RepoFile:
        path = tmp_path / "repo.car"
        path.write_bytes(data)
        repos.append(open_repo(path))
        return repos[-1]

    yield open_bytes
    for repo in repos:
        repo.close()


def commit_to(tree, **changes):
    return make_block(
        {"did": DID, "version": 3, "data": tree, "rev": REV, "prev": None, "sig": VOID_SIGNATURE} | changes
    )


def test_records_come_whole_and_in_key_order(opened):
    records = {"app.bsky.graph.follow/b": {"a": 1}, "app.bsky.feed.post/z": make_post(), **POSTS}
    repo = opened(make_repo_car(records))
    assert [(record.key, record.value) for record in repo.records()] == sorted(records.items())
    assert all(record.cid == cid_of(dag_cbor.encode(record.value)) for record in repo.records())
    assert list(repo.keys()) == [(record.key, record.cid) for record in repo.records()]
    assert [record.collection for record in repo.records()][-1] == "app.bsky.graph.follow"


def test_the_commit_and_the_counts_are_told(opened):
    built = make_repo(POSTS, did=OTHER_DID)
    data = make_car(built.root, built.blocks)
    repo = opened(data)
    assert repo.root == built.root
    assert repo.commit == Commit(OTHER_DID, 3, built.nodes[-1][0], REV, None, VOID_SIGNATURE)
    assert repo.block_count == len(built.blocks) == 1 + len(built.nodes) + len(POSTS)
    assert (repo.duplicate_count, repo.orphan_count(), repo.size_bytes) == (0, 0, len(data))


def test_a_repository_without_records_is_whole(opened):
    repo = opened(make_repo_car({}))
    assert list(repo.records()) == []
    assert (repo.block_count, repo.orphan_count()) == (2, 0)


def test_the_order_of_blocks_decides_nothing(opened):
    built = make_repo(POSTS)
    repo = opened(make_car(built.root, reversed(built.blocks)))
    assert {record.key: record.value for record in repo.records()} == POSTS


def test_duplicates_and_orphans_are_counted_apart_and_harm_nothing(opened):
    repo = opened(make_repo_car(POSTS, orphans=[{"old": 1}, {"old": 2}, {"old": 3}], duplicates=5))
    assert (repo.duplicate_count, repo.orphan_count()) == (5, 3)
    assert repo.block_count == len(make_repo(POSTS).blocks) + 3
    assert {record.key: record.value for record in repo.records()} == POSTS


def test_two_keys_may_share_one_record_block(opened):
    records = {"app.bsky.feed.post/a": {"x": 1}, "app.bsky.feed.post/b": {"x": 1}}
    repo = opened(make_repo_car(records))
    assert {record.key: record.value for record in repo.records()} == records
    assert len({record.cid for record in repo.records()}) == 1
    assert (repo.orphan_count(), repo.duplicate_count) == (0, 0)


def test_a_block_shared_by_so_many_keys_that_reading_would_never_end_is_refused(opened):
    large = {"text": "x" * 1_000_000}
    shared = {f"app.bsky.feed.post/{number:04}": large for number in range(150)}
    with pytest.raises(RepoError, match="again and again"):
        list(opened(make_repo_car(shared)).records())
    few = dict(list(shared.items())[:50])
    assert len(list(opened(make_repo_car(few)).records())) == 50
    assert len(list(opened(make_repo_car(shared)).keys())) == 150


def test_two_walks_do_not_disturb_each_other(opened):
    repo = opened(make_repo_car(POSTS))
    pairs = list(zip(repo.records(), repo.records(), strict=True))
    assert len(pairs) == len(POSTS)
    assert all(one == other for one, other in pairs)


def test_without_any_one_of_its_blocks_a_repository_is_refused(opened):
    built = make_repo(POSTS)
    for missing, _ in built.blocks:
        data = make_car(built.root, [block for block in built.blocks if block[0] != missing])
        with pytest.raises(RepoError, match="missing"):
            list(opened(data).records())


def test_a_missing_record_is_named_by_its_key_and_never_counted_as_reached(opened):
    built = make_repo(POSTS)
    key, (missing, _) = list(built.records.items())[10]
    repo = opened(make_car(built.root, [block for block in built.blocks if block[0] != missing]))
    for look in (lambda: list(repo.keys()), lambda: list(repo.records()), repo.orphan_count):
        with pytest.raises(RepoError, match=key):
            look()


def test_a_key_that_is_no_collection_and_record_key_is_refused(opened):
    record = make_block({"x": 1})
    nodes = {}
    tree = mst.build([(b"k/00", record[0])], nodes.__setitem__)
    commit = commit_to(tree)
    data = make_car(commit[0], [commit, *nodes.items(), record])
    with pytest.raises(RepoError, match="k/00") as caught:
        list(opened(data).keys())
    assert caught.value.offset == data.index(record[1], len(data) - len(record[1]))


@pytest.mark.parametrize("value", [None, [], "text", 1, cid_of(b"")])
def test_a_record_that_is_no_map_is_refused_at_its_place(opened, value):
    data = make_repo_car({"app.bsky.feed.post/a": value})
    with pytest.raises(RepoError, match="not a map") as caught:
        list(opened(data).records())
    assert caught.value.offset == data.index(dag_cbor.encode(value), len(data) - len(dag_cbor.encode(value)))


def test_a_record_that_is_not_canonical_is_refused_at_its_place(opened):
    bad = bytes.fromhex("a2616201616102")
    cid = cid_of(bad)
    nodes = {}
    commit = commit_to(mst.build([(b"app.bsky.feed.post/a", cid)], nodes.__setitem__))
    data = make_car(commit[0], [commit, *nodes.items(), (cid, bad)])
    with pytest.raises(RepoError, match=str(cid)) as caught:
        list(opened(data).records())
    assert (caught.value.offset, caught.value.code) == (data.index(bad), "dag_cbor")


@pytest.mark.parametrize(
    ("node", "code"),
    [
        pytest.param(b"\xff", "dag_cbor", id="not CBOR"),
        pytest.param(dag_cbor.encode({"e": []}), "mst", id="not a node"),
        pytest.param(dag_cbor.encode({"e": [], "l": cid_of(b"")}), "mst", id="no entry in the root"),
    ],
)
def test_a_tree_node_at_fault_is_refused_at_its_place(opened, node, code):
    commit = commit_to(cid_of(node))
    data = make_car(commit[0], [commit, (cid_of(node), node)])
    for look in (lambda repo: list(repo.keys()), lambda repo: repo.orphan_count()):
        with pytest.raises(mst.MstError) as caught:
            look(opened(data))
        assert (caught.value.offset, caught.value.code) == (data.index(node, len(data) - len(node)), code)
        assert str(caught.value).count("at byte") == 1


def test_a_root_that_is_missing_is_refused(opened):
    with pytest.raises(RepoError, match="missing"):
        opened(make_car(cid_of(b"other"), make_repo(POSTS).blocks))


def test_a_root_that_is_no_commit_is_refused_at_its_place(opened):
    root = make_block(make_post())
    data = make_car(root[0], [root])
    with pytest.raises(RepoError, match="did") as caught:
        opened(data)
    assert (caught.value.offset, caught.value.code) == (data.index(root[1]), "commit")


def test_a_root_named_as_raw_bytes_is_refused(opened):
    commit = encode_commit(Commit(DID, 3, make_repo({}).nodes[0][0], REV, None, VOID_SIGNATURE))
    cid = cid_of(commit, CODEC_RAW)
    with pytest.raises(CarError, match="root"):
        opened(make_car(cid, [(cid, commit), *make_repo({}).nodes]))


def test_a_file_with_two_roots_is_no_repository(opened):
    built = make_repo(POSTS)
    header = dag_cbor.encode({"roots": [built.root, built.root], "version": 1})
    one_root = len(dag_cbor.encode({"roots": [built.root], "version": 1})) + 1
    with pytest.raises(CarError, match="one root"):
        opened(encode_varint(len(header)) + header + make_car(built.root, built.blocks)[one_root:])


def test_every_truncation_is_refused_and_never_a_smaller_repository(opened):
    data = make_repo_car(make_posts(6))
    for length in range(len(data)):
        with pytest.raises(IntegrityError):
            list(opened(data[:length]).records())


def test_only_orphans_and_duplicates_can_be_cut_off_unnoticed(opened):
    """At the border between two blocks, where nothing is left out that the commit leads to."""
    whole = make_repo_car(make_posts(3))
    data = make_repo_car(make_posts(3), orphans=[{"old": 1}, {"old": 2}], duplicates=2)
    accepted = []
    for length in range(len(whole), len(data) + 1):
        try:
            records = {record.key: record.value for record in opened(data[:length]).records()}
        except IntegrityError:
            continue
        accepted.append(length)
        assert records == make_posts(3)
    assert len(accepted) == 5


def test_a_refused_file_is_closed_again_and_an_opened_one_may_be_closed_twice(tmp_path):
    path = tmp_path / "repo.car"
    path.write_bytes(make_repo_car(POSTS)[:-1])
    free_before = os.open(os.devnull, os.O_RDONLY)
    os.close(free_before)
    with pytest.raises(CarError):
        open_repo(path)
    path.write_bytes(make_repo_car(POSTS))
    with open_repo(path) as repo:
        repo.close()
        taken = os.open(os.devnull, os.O_RDONLY)
    os.fstat(taken)  # the second close did not close what somebody else had opened in between
    os.close(taken)
    assert taken == free_before


def test_every_byte_that_is_read_is_told(tmp_path):
    path = tmp_path / "repo.car"
    path.write_bytes(make_repo_car(make_posts(500)))
    told: list[int] = []
    with open_repo(path, on_read=told.append) as repo:
        assert len(list(repo.keys())) == 500
    assert sum(told) == path.stat().st_size
    assert len(told) > 2


def test_what_cannot_be_read_twice_is_refused_at_once(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(CarError, match="no regular file"):
        open_repo(pipe)


def test_a_closed_repository_says_so(tmp_path):
    path = tmp_path / "repo.car"
    path.write_bytes(make_repo_car(POSTS))
    with open_repo(path) as repo:
        assert DID in repr(repo)
        assert {record.rkey for record in repo.records()} == {key.partition("/")[2] for key in POSTS}
    for look in (lambda: list(repo.keys()), lambda: list(repo.records()), lambda: repo.block(repo.root)):
        with pytest.raises(ValueError, match="closed"):
            look()
