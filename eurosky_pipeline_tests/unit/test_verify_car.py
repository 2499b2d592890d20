"""Whether a file is a whole and canonical repository: each fault by its kind and place, and all faults of a file."""

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from eurosky_pipeline.atproto import dag_cbor, mst
from eurosky_pipeline.atproto.car import CarReader
from eurosky_pipeline.atproto.cid import CID_BYTES, CODEC_RAW, Cid, cid_of
from eurosky_pipeline.atproto.keys import PublicKey
from eurosky_pipeline.atproto.varint import encode_varint
from eurosky_pipeline.atproto.verify import MAX_PROBLEMS, Verification, verify_car
from eurosky_pipeline_tests.builders import (
    DID,
    REV,
    Block,
    make_block,
    make_car,
    make_post,
    make_posts,
    make_repo,
    make_repo_car,
)
from eurosky_pipeline_tests.damage import DAMAGES, FILE, GOOD, KEY, OTHER_KEY

Verify = Callable[..., Verification]
KEYS = list(GOOD.records)
RECORDS = list(GOOD.records.values())
NODES = GOOD.nodes
ROOT_NODE = NODES[-1]


@pytest.fixture
def verify(tmp_path: Path) -> Verify:
    def verify_bytes(data: bytes, key: PublicKey | None = None) -> Verification:
        path = tmp_path / "repo.car"
        path.write_bytes(data)
        return verify_car(path, key=key)

    return verify_bytes


def file_of(blocks: Iterable[tuple[bytes, bytes]]) -> bytes:
    return make_car(GOOD.root, blocks)


def without(*missing: Block) -> bytes:
    return file_of(block for block in GOOD.blocks if block not in missing)


def changed(changes: dict[Block, bytes]) -> bytes:
    """The good file with other data under some of its CIDs."""
    return file_of((block[0], changes.get(block, block[1])) for block in GOOD.blocks)


def place(data: bytes, block: tuple[bytes, bytes]) -> int:
    """Where a block's data begin, found without a reader."""
    head = encode_varint(CID_BYTES + len(block[1])) + block[0]
    assert data.count(head + block[1]) == 1
    return data.index(head + block[1]) + len(head)


def parent_of(cid: Cid) -> Block:
    """The node, or commit, that links to a block."""
    link = dag_cbor.LINK_HEAD + cid
    (found,) = (block for block in [GOOD.commit, *NODES] if link in block[1])
    return found


def repo_of(records: dict[str, bytes]) -> tuple[bytes, dict[str, Block]]:
    """A repository whose records are these blocks, whatever they hold."""
    blocks = {key: (cid_of(data), data) for key, data in records.items()}
    nodes: dict[Cid, bytes] = {}
    tree = mst.build(((key.encode(), cid) for key, (cid, _) in blocks.items()), nodes.__setitem__)
    commit = make_block({"did": DID, "version": 3, "data": tree, "rev": REV, "prev": None, "sig": bytes(64)})
    return make_car(commit[0], dict([commit, *nodes.items(), *blocks.values()]).items()), blocks


def found(verification: Verification) -> list[tuple[str, int | None]]:
    assert verification.problem_count == len(verification.problems) > 0
    assert not verification.is_whole
    assert all(problem.detail and "at byte" not in problem.detail for problem in verification.problems)
    return [(problem.kind, problem.offset) for problem in verification.problems]


def counts(verification: Verification) -> tuple[int, int, int, int]:
    """Blocks, orphans, duplicates and records of a file without a fault."""
    assert verification.is_whole
    assert verification.problems == ()
    return (
        verification.blocks,
        verification.orphan_blocks,
        verification.duplicate_blocks,
        verification.records,
    )


def test_a_whole_repository_is_whole_and_counted(verify):
    assert counts(verify(FILE, KEY.public_key)) == (len(GOOD.blocks), 0, 0, len(GOOD.records))


def test_it_says_whose_repository_it_is_and_whether_the_signature_was_looked_at(verify):
    found = verify(FILE, KEY.public_key)
    assert (found.did, found.rev, found.root, found.is_signature_checked) == (DID, REV, str(GOOD.root), True)
    assert not verify(FILE).is_signature_checked
    nothing = verify(b"")
    assert (nothing.did, nothing.rev, nothing.root) == (None, None, None)


def test_a_repository_without_records_is_whole(verify):
    assert counts(verify(make_repo_car({}))) == (2, 0, 0, 0)


def test_the_order_of_blocks_decides_nothing(verify):
    assert counts(verify(file_of(reversed(GOOD.blocks)), KEY.public_key)) == counts(verify(FILE))


def test_orphans_and_duplicates_are_counted_and_are_no_problem(verify):
    data = make_repo_car(make_posts(9), orphans=[{"old": 1}, {"old": 2}], duplicates=4)
    blocks = len(make_repo(make_posts(9)).blocks)
    assert counts(verify(data)) == (blocks + 2, 2, 4, 9)


@pytest.mark.parametrize(
    "orphan",
    [b"", b"\xff", b"not CBOR at all", b"\xa2ae", b"\xa2ae\x80alg", b"\xa2\x61b\x01\x61a\x02", b"\xf9\x7e\x00"],
)
@pytest.mark.parametrize("codec", [0x71, CODEC_RAW])
def test_an_orphan_may_hold_anything_that_hashes_to_its_cid(verify, orphan, codec):
    verification = verify(file_of([*GOOD.blocks, (cid_of(orphan, codec), orphan)]))
    assert verification.is_whole
    assert verification.orphan_blocks == 1


@pytest.mark.parametrize("name", DAMAGES)
def test_no_damage_passes_and_each_is_named(verify, name):
    kinds = {kind for kind, _ in found(verify(DAMAGES[name], KEY.public_key))}
    allowed = {
        "file": {"car", "varint", "block_hash", "block_missing"},
        "commit": {"commit", "signature"},
        "tree": {"mst", "dag_cbor", "block_missing", "repo"},
        "record": {"dag_cbor", "repo"},
    }
    assert kinds <= allowed[name.partition(":")[0]]


def test_a_damage_of_the_signature_alone_is_seen_only_with_the_key(verify):
    for name, data in DAMAGES.items():
        is_signature = [kind for kind, _ in found(verify(data, KEY.public_key))] == ["signature"]
        assert verify(data).is_whole == is_signature, name


def test_a_wrong_a_void_and_a_right_signature_are_told_apart(verify):
    wrong = verify(FILE, OTHER_KEY.public_key)
    assert found(wrong)[0][0] == "signature"
    assert OTHER_KEY.public_key.did_key in wrong.problems[0].detail
    void = verify(make_repo_car(make_posts(3)), KEY.public_key)
    assert found(void)[0][0] == "signature"
    assert "by nobody" in void.problems[0].detail
    assert (wrong.records, void.records) == (len(GOOD.records), 3)
    assert verify(FILE, KEY.public_key).is_whole


def test_a_missing_record_is_placed_at_the_node_that_links_to_it(verify):
    for key, record in list(GOOD.records.items())[::7]:
        data = without(record)
        verification = verify(data)
        assert found(verification) == [("block_missing", place(data, parent_of(record[0])))]
        assert key in verification.problems[0].detail
        assert verification.records == len(GOOD.records) - 1


def test_a_missing_node_is_placed_at_the_block_that_links_to_it(verify):
    for node in NODES:
        data = without(node)
        verification = verify(data)
        assert found(verification) == [("block_missing", place(data, parent_of(node[0])))]
        assert str(node[0]) in verification.problems[0].detail
        assert verification.records < len(GOOD.records)


def test_a_missing_commit_is_the_headers_fault(verify):
    verification = verify(without(GOOD.commit))
    assert found(verification) == [("block_missing", 0)]
    assert str(GOOD.root) in verification.problems[0].detail


@pytest.mark.parametrize(
    "block", [GOOD.commit, ROOT_NODE, NODES[0], RECORDS[5]], ids=["commit", "root", "node", "post"]
)
def test_a_block_that_does_not_hash_to_its_cid_is_named_and_counts_as_missing(verify, block):
    data = changed({block: block[1] + b"\0"})
    verification = verify(data)
    parent = 0 if block == GOOD.commit else place(data, parent_of(block[0]))
    assert found(verification) == [("block_hash", data.index(block[0] + block[1])), ("block_missing", parent)]
    assert str(block[0]) in verification.problems[0].detail


def test_a_file_that_is_cut_says_where_and_what_is_missing_for_it(verify):
    data = FILE[:-5]
    verification = verify(data)
    assert found(verification) == [
        ("car", place(FILE, RECORDS[-1]) - CID_BYTES),
        ("block_missing", place(data, parent_of(RECORDS[-1][0]))),
    ]
    assert "5 bytes before the end" in verification.problems[0].detail
    assert verification.records == len(GOOD.records) - 1


@pytest.mark.parametrize(
    ("data", "offset", "kind"),
    [
        pytest.param(b"", 0, "car", id="nothing"),
        pytest.param(b"\x3a", 1, "car", id="a header's length alone"),
        pytest.param(b"\x00", 0, "car", id="a header of no length"),
        pytest.param(b"\x80", 0, "varint", id="half a varint"),
        pytest.param(b"\x01\xff", 0, "car", id="a header that is not CBOR"),
        pytest.param(FILE + b"\x80", len(FILE), "varint", id="half a varint at the end"),
        pytest.param(FILE + b"\x00", len(FILE) + 1, "car", id="a block of no length at the end"),
        pytest.param(FILE + encode_varint(2**40), len(FILE) + 6, "car", id="a block of a terabyte at the end"),
    ],
)
def test_a_file_that_is_no_car_says_where_it_stops_being_one(verify, data, offset, kind):
    assert found(verify(data)) == [(kind, offset)]


def test_a_commit_that_is_none_is_placed(verify):
    root = make_block(make_post())
    data = make_car(root[0], [root, *GOOD.blocks])
    assert found(verify(data)) == [("commit", place(data, root))]


@pytest.mark.parametrize(
    "record", [b"\xa2\x61b\x01\x61a\x02", b"\xa1\x61a\x18\x01", b"\xa1\x61a\xf9\x3c\x00", b"\xff", b""]
)
def test_a_record_that_is_not_canonical_is_placed(verify, record):
    data, blocks = repo_of({"app.bsky.feed.post/a": record, "app.bsky.feed.post/b": b"\xa0"})
    verification = verify(data)
    assert found(verification) == [("dag_cbor", place(data, blocks["app.bsky.feed.post/a"]))]
    assert verification.records == 1


@pytest.mark.parametrize("record", [b"\x80", b"\xf6", b"\x01", b"\x61a", b"\x82\x61e\x61l"])
def test_a_record_that_is_no_map_is_placed_and_its_key_named(verify, record):
    data, blocks = repo_of({"app.bsky.feed.post/a": record})
    verification = verify(data)
    assert found(verification) == [("repo", place(data, blocks["app.bsky.feed.post/a"]))]
    assert "app.bsky.feed.post/a" in verification.problems[0].detail


@pytest.mark.parametrize(
    "record",
    [
        pytest.param({"e": 1, "l": 2}, id="with the fields of a node"),
        pytest.param({"e": [], "l": None}, id="that is a node"),
        pytest.param({"e": "x", "z": [1]}, id="with another second field"),
    ],
)
def test_a_record_that_begins_as_a_node_does_is_a_record(verify, record):
    encoded = dag_cbor.encode(record)
    assert encoded.startswith(b"\xa2ae")
    assert verify(make_repo_car({"app.bsky.feed.post/a": record, **make_posts(4)})).is_whole


@pytest.mark.parametrize("record", [b"\xa2ae\x18\x01al\x02", b"\xa2ae\x01", b"\xa2ae\x01aa\x02"])
def test_a_record_that_begins_as_a_node_does_is_checked_like_any_other(verify, record):
    data, blocks = repo_of({"app.bsky.feed.post/a": record})
    assert found(verify(data)) == [("dag_cbor", place(data, blocks["app.bsky.feed.post/a"]))]


def test_a_faulty_record_under_many_keys_is_named_for_each_of_them(verify):
    """In detail at the first, and without another look at it at the others."""
    data, blocks = repo_of({f"app.bsky.feed.post/{n}": b"\xa1\x61a\x18\x01" for n in range(5)} | {"a.b.c/d": b"\xa0"})
    verification = verify(data)
    offset = place(data, blocks["app.bsky.feed.post/0"])
    assert found(verification) == [("dag_cbor", offset), *[("repo", offset)] * 4]
    for n in range(1, 5):
        assert f"app.bsky.feed.post/{n}" in verification.problems[n].detail
    assert verification.records == 1


def test_a_faulty_node_is_placed_and_the_rest_of_the_tree_still_read(verify):
    """Its subtree is left out: what hangs elsewhere is counted."""
    leaf = next(node for node in NODES if b"at\xd8" not in node[1] and node[1].endswith(b"al\xf6"))
    bad = dag_cbor.encode(dag_cbor.decode(leaf[1]) | {"x": 1})
    below = len(mst.parse_node(leaf[1]).entries)
    old, new, blocks = leaf[0], cid_of(bad), dict(GOOD.blocks)
    blocks[new] = bad
    while old != GOOD.root:
        parent = parent_of(old)
        replaced = blocks[parent[0]].replace(old, new)
        old, new = parent[0], cid_of(replaced)
        blocks[new] = replaced
    data = make_car(new, blocks.items())
    verification = verify(data)
    assert found(verification) == [("mst", place(data, (cid_of(bad), bad)))]
    assert verification.records == len(GOOD.records) - below


def test_every_fault_of_a_file_is_named(verify):
    """A bad hash, a missing node, a missing record, a record that is none, a cut end, a wrong key: six in one file."""
    hashed, lost_record = RECORDS[3], RECORDS[40]
    lost_node = next(node for node in NODES if not any(cid in node[1] for cid in (hashed[0], lost_record[0])))
    blocks = [block for block in GOOD.blocks if block not in (lost_record, lost_node, GOOD.commit)]
    data = file_of(
        [
            GOOD.commit,
            *((cid, block + b"!" if cid == hashed[0] else block) for cid, block in blocks),
            (cid_of(b"orphan"), b"no orphan"),
        ]
    )
    verification = verify(data + b"\x80", OTHER_KEY.public_key)
    assert sorted(found(verification)) == sorted(
        [
            ("block_hash", data.index(hashed[0] + hashed[1])),
            ("block_hash", data.index(cid_of(b"orphan"))),
            ("varint", len(data)),
            ("block_missing", place(data, parent_of(hashed[0]))),
            ("block_missing", place(data, parent_of(lost_record[0]))),
            ("block_missing", place(data, parent_of(lost_node[0]))),
            ("signature", place(data, GOOD.commit)),
        ]
    )
    assert verification.records == len(GOOD.records) - 2 - len(mst.parse_node(lost_node[1]).entries)


def test_no_more_than_the_first_hundred_problems_are_kept_and_all_are_counted(verify):
    bad = [(cid_of(b"%d" % n), b"no") for n in range(MAX_PROBLEMS + 50)]
    verification = verify(file_of([*GOOD.blocks, *bad]))
    assert MAX_PROBLEMS == 100
    assert (len(verification.problems), verification.problem_count) == (100, 150)
    assert str(bad[99][0]) in verification.problems[-1].detail
    assert (verification.is_whole, verification.records) == (False, len(GOOD.records))


def test_the_hundredth_problem_is_still_kept(verify):
    for count in (99, 100, 101):
        bad = [(cid_of(b"%d" % n), b"no") for n in range(count)]
        verification = verify(file_of([*GOOD.blocks, *bad]))
        assert (len(verification.problems), verification.problem_count) == (min(count, 100), count)


def test_a_key_that_is_no_path_of_a_repository_is_named(verify):
    data, _ = repo_of({"post/self": b"\xa0", "app.bsky.feed.post/..": b"\xa0", "a.b.c/d": b"\xa0"})
    verification = verify(data)
    assert [kind for kind, _ in found(verification)] == ["repo", "repo"]
    assert "app.bsky.feed.post/.." in verification.problems[0].detail
    assert "post/self" in verification.problems[1].detail
    assert verification.records == 1


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path):
    with pytest.raises(FileNotFoundError):
        verify_car(tmp_path / "nowhere.car")


def test_the_counts_are_those_that_a_reader_finds(verify):
    data = make_repo_car(make_posts(70), orphans=[{"old": 1}], duplicates=3)
    cids = [cid for cid, _, _ in CarReader(io.BytesIO(data))]
    verification = verify(data)
    assert verification.blocks == len(set(cids))
    assert verification.duplicate_blocks == len(cids) - len(set(cids))
