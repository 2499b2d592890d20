"""The converted file: its tree, its commit, what is left out of it, and that it is written whole or not at all."""

import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from eurosky_pipeline.atproto import mst
from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.atproto.commit import parse_commit
from eurosky_pipeline.atproto.syntax import tid_of
from eurosky_pipeline.atproto.verify import verify_car
from eurosky_pipeline.convert import output
from eurosky_pipeline.convert.convert_car import convert_car
from eurosky_pipeline.convert.legacy_blobs import LegacyBlobs
from eurosky_pipeline.errors import EuroskyError, TransientError
from eurosky_pipeline.plugins.record_transforms import RecordTransform, UnknownSize
from eurosky_pipeline_tests import plain_convert
from eurosky_pipeline_tests.builders import (
    DID,
    REV,
    BuiltRepo,
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
from eurosky_pipeline_tests.converting import convert, saved
from eurosky_pipeline_tests.damage import DAMAGES, KEY

POST = "app.bsky.feed.post"
LEGACY = make_legacy_blob_ref()
BLOB = cid_of(b"a picture", CODEC_RAW)
SIZES = {BLOB: 9}
PICTURE = make_post("a picture", image=LEGACY)
LAST_TID = "jzzzzzzzzzzzz"


def car_with(commit: dict[str, Any], records: dict[str, Any]) -> bytes:
    """A repository of these records under a commit of these fields."""
    repo = make_repo(records)
    block = make_block({"did": DID, "data": repo.nodes[-1][0], "sig": b"signed", **commit})
    return make_car(block[0], [block, *repo.blocks[1:]])


def whole(data: bytes) -> bool:
    with saved(data) as path:
        found = verify_car(path)
    return found.is_whole and found.orphan_blocks == found.duplicate_blocks == 0


# the tree


def tall_repo(count: int = 400) -> BuiltRepo:
    """Posts at several heights, the one in the middle with a picture."""
    posts = make_posts(count)
    return make_repo(posts | {list(posts)[count // 2]: PICTURE})


def test_only_the_nodes_on_the_way_to_a_changed_record_are_rewritten_and_all_other_blocks_stay():
    repo = tall_repo()
    outcome = convert(make_car(repo.root, repo.blocks), SIZES)
    _, after = plain_convert.read_blocks(outcome.data)
    before = dict(repo.blocks)
    height = max(mst.key_height(key.encode()) for key in repo.records)
    key = next(key for key, block in repo.records.items() if block == make_block(PICTURE))
    on_the_way = height + 1 - mst.key_height(key.encode())
    assert outcome.conversion.nodes_rewritten == on_the_way
    assert len(after.keys() - before.keys()) == len(before.keys() - after.keys()) == 1 + on_the_way + 1
    assert len(after) == len(before)
    assert whole(outcome.data)


def test_a_record_at_every_height_can_change():
    for height in range(5):
        key = next(keys_at_height(height)).decode()
        data = make_repo_car(make_posts(300) | {key: PICTURE})
        outcome = convert(data, SIZES)
        assert plain_convert.read(outcome.data).records[key]["image"]["size"] == 9
        assert whole(outcome.data)


def test_nodes_without_an_entry_between_two_heights_are_rewritten_too():
    high, low = (next(keys_at_height(height)).decode() for height in (6, 0))
    outcome = convert(make_repo_car({high: make_post(), low: PICTURE}), SIZES)
    assert outcome.conversion.nodes_rewritten == 7
    assert whole(outcome.data)


def test_every_record_of_a_repository_can_change():
    data = make_repo_car({key: post | {"image": LEGACY} for key, post in make_posts(500).items()})
    outcome = convert(data, SIZES)
    assert outcome.conversion.records_changed == outcome.conversion.records == 500
    assert whole(outcome.data)
    assert not any(
        plain_convert.legacy_blob(record["image"]) for record in plain_convert.read(outcome.data).records.values()
    )


def node_that_is_a_record() -> tuple[bytes, str, Cid]:
    """A key whose record is the very block that also is the subtree before it, in which a record will change."""
    high = next(keys_at_height(1))
    low = next(key for key in keys_at_height(0) if key < high)
    nodes: dict[Cid, bytes] = {}
    picture = make_block(PICTURE)
    subtree = mst.build([(low, picture[0])], nodes.__setitem__)
    tree = mst.build([(low, picture[0]), (high, subtree)], nodes.__setitem__)
    commit = make_block({"did": DID, "version": 3, "data": tree, "rev": REV, "prev": None, "sig": bytes(64)})
    assert mst.parse_node(nodes[tree]).left == subtree
    return make_car(commit[0], [commit, *nodes.items(), picture]), high.decode(), subtree


def test_a_tree_node_that_is_a_record_too_is_rewritten_as_a_node_and_kept_as_a_record():
    data, key, node = node_that_is_a_record()
    outcome = convert(data, SIZES)
    assert whole(outcome.data)
    after = plain_convert.read(outcome.data)
    assert after.cids[key] == node
    assert outcome.conversion.records_changed == 1


def test_a_record_that_is_the_empty_trees_node_is_a_record():
    data = make_repo_car({f"{POST}/a": {"e": [], "l": None}, f"{POST}/b": PICTURE})
    outcome = convert(data, SIZES)
    assert whole(outcome.data)
    assert plain_convert.read(outcome.data).records[f"{POST}/a"] == {"e": [], "l": None}


def test_a_record_that_looks_like_a_commit_is_a_record():
    record = {"did": DID, "version": 3, "data": BLOB, "rev": REV, "prev": None, "sig": b"", "image": LEGACY}
    outcome = convert(make_repo_car({f"{POST}/a": record}), SIZES)
    assert plain_convert.read(outcome.data).records[f"{POST}/a"]["image"]["size"] == 9
    assert whole(outcome.data)


def test_a_record_that_was_the_commit_before_is_a_record():
    """Its block stands under a key, and in the file as the commit never does."""
    old = make_repo(make_posts(1)).commit
    repo = make_repo({f"{POST}/a": PICTURE})
    nodes: dict[Cid, bytes] = {}
    tree = mst.build(
        [(f"{POST}/a".encode(), make_block(PICTURE)[0]), (f"{POST}/b".encode(), old[0])], nodes.__setitem__
    )
    commit = make_block({"did": DID, "version": 3, "data": tree, "rev": REV, "prev": None, "sig": bytes(64)})
    outcome = convert(make_car(commit[0], [commit, *nodes.items(), old, repo.records[f"{POST}/a"]]), SIZES)
    assert plain_convert.read(outcome.data).cids[f"{POST}/b"] == old[0]
    assert whole(outcome.data)


# what else is in the file


def test_orphans_and_duplicates_are_left_out_and_counted():
    repo, old = tall_repo(60), make_repo(make_posts(70))
    orphans = [*old.nodes, old.commit, make_block({"x": LEGACY}), make_block(5), (cid_of(b"", CODEC_RAW), b"")]
    orphans = [block for block in orphans if block not in repo.blocks]
    data = make_car(repo.root, [*orphans, *repo.blocks, *repo.blocks[:7], *orphans[:3]])
    outcome = convert(data, SIZES)
    assert whole(outcome.data)
    assert outcome.conversion.blocks_dropped == len(orphans) + 7 + 3
    assert outcome.conversion.records == 60


def test_with_nothing_to_convert_orphans_and_duplicates_are_no_reason_to_write_a_file():
    assert convert(make_repo_car(make_posts(5), orphans=[{"x": LEGACY}], duplicates=3), SIZES).data is None


def test_the_order_of_the_blocks_changes_nothing_but_the_order_of_the_blocks():
    repo = tall_repo(80)
    blocks = [*repo.blocks, make_block({"an": "orphan"})]
    outcomes = []
    for seed in range(5):
        Random(seed).shuffle(blocks)
        outcomes.append(convert(make_car(repo.root, blocks), SIZES))
    assert (
        len({(outcome.conversion.root, frozenset(plain_convert.read_blocks(outcome.data)[1])) for outcome in outcomes})
        == 1
    )


@pytest.mark.parametrize("twin_of", [POST, "a node", "the commit"])
def test_a_block_with_the_same_bytes_under_a_raw_cid_is_another_block(twin_of):
    """It stands before the one that is wanted, and nothing leads to it."""
    repo = make_repo({f"{POST}/a": PICTURE, f"{POST}/b": make_post()} | make_posts(40))
    height_0 = next(node for node in repo.nodes if mst.parse_node(node[1]).left is None)
    block = {POST: repo.records[f"{POST}/b"], "a node": height_0, "the commit": repo.commit}[twin_of]
    twin = (cid_of(block[1], CODEC_RAW), block[1])
    outcome = convert(make_car(repo.root, [twin, *repo.blocks, twin]), SIZES)
    assert whole(outcome.data)
    assert twin[0] not in plain_convert.read_blocks(outcome.data)[1]


@pytest.mark.parametrize("keys", ["ab", "ba"])
def test_a_record_that_becomes_what_another_one_has_always_been_shares_its_block(keys):
    modern = PICTURE | {"image": {"$type": "blob", "ref": BLOB, "mimeType": LEGACY["mimeType"], "size": 9}}
    outcome = convert(make_repo_car(dict(zip((f"{POST}/{key}" for key in keys), (PICTURE, modern), strict=True))))
    assert whole(outcome.data)
    assert set(map(str, plain_convert.read(outcome.data).cids.values())) == {str(make_block(modern)[0])}
    assert outcome.conversion.records_changed == 1


def test_a_record_that_becomes_what_an_orphan_is_is_there_once():
    modern = PICTURE | {"image": {"$type": "blob", "ref": BLOB, "mimeType": LEGACY["mimeType"], "size": 9}}
    outcome = convert(make_repo_car({f"{POST}/a": PICTURE}, orphans=[modern]))
    assert whole(outcome.data)
    assert plain_convert.read(outcome.data).records == {f"{POST}/a": modern}


@pytest.mark.parametrize("place", [0, 1, -1], ids=["first", "second", "last"])
def test_the_commit_may_stand_anywhere(place):
    repo = make_repo({f"{POST}/a": PICTURE, f"{POST}/b": make_post()})
    others = repo.blocks[1:]
    others.insert(place % len(repo.blocks), repo.commit)
    outcome = convert(make_car(repo.root, others), SIZES)
    assert whole(outcome.data)


def test_a_repository_without_a_record_stays_as_it_is():
    outcome = convert(make_repo_car({}), SIZES)
    assert (outcome.data, outcome.conversion.records) == (None, 0)


_AGAIN = """
import sys, json, hashlib
from pathlib import Path
from eurosky_pipeline.convert import output
from eurosky_pipeline.convert.convert_car import convert_car
from eurosky_pipeline.convert.legacy_blobs import LegacyBlobs
from eurosky_pipeline.plugins.record_transforms import UnknownSize
source, target = map(Path, sys.argv[1:])
done = convert_car(source, target, [LegacyBlobs()], unknown_size=UnknownSize.SENTINEL,
                   blob_sizes=lambda cids: dict.fromkeys(list(cids)[::2], 5), report=lambda _: None)
print(json.dumps([hashlib.sha256(target.read_bytes()).hexdigest(), repr(done)]))
"""


def test_the_bytes_do_not_depend_on_the_seed_of_pythons_hashes(tmp_path):
    records: dict[str, Any] = {}
    for number, (key, post) in enumerate(make_posts(120).items()):
        pictures = [make_legacy_blob_ref(b"%d" % (number * k % 17)) for k in range(number % 4)]
        records[key] = post | {"images": pictures}
    refs = [make_strong_ref(key, make_block(record)[0]) for key, record in records.items()]
    likes = {f"app.bsky.feed.like/{n:04}": {"subject": refs[n * 7 % 120], "more": refs[n % 9 :: 11]} for n in range(90)}
    source = tmp_path / "source.car"
    source.write_bytes(make_repo_car(records | likes))
    told = set()
    for seed in ("0", "1", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", _AGAIN, source, tmp_path / "target.car"],
            env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        told.add(done.stdout)
    assert len(told) == 1
    assert "records_changed=180" in json.loads(told.pop())[1]


# the commit


def test_the_commit_is_of_version_3_without_prev_and_its_rev_comes_right_after_the_old_one():
    data = car_with({"version": 3, "rev": REV, "prev": cid_of(b"before")}, {f"{POST}/a": PICTURE})
    outcome = convert(data, SIZES)
    root, blocks = plain_convert.read_blocks(outcome.data)
    commit = parse_commit(blocks[root])
    assert (commit.did, commit.version, commit.prev, commit.rev) == (DID, 3, None, "3jzfcijpj2z2b")
    assert (outcome.conversion.rev, outcome.conversion.root) == (commit.rev, root)


@pytest.mark.parametrize(("rev", "expected"), [(REV, "3jzfcijpj2z2b"), ("2zzzzzzzzzzzz", "3222222222222")])
@pytest.mark.parametrize("version", [2, 3])
def test_the_rev_carries(version, rev, expected):
    outcome = convert(car_with({"version": version, "rev": rev, "prev": None}, {f"{POST}/a": PICTURE}), SIZES)
    assert outcome.conversion.rev == expected


def test_an_old_commit_without_a_rev_gets_the_one_after_the_newest_record_key_that_is_a_tid():
    old, newest = tid_of(1_600_000_000_000_000), tid_of(1_700_000_000_000_000, 5)
    records = {
        f"{POST}/{old}": PICTURE,
        f"app.bsky.feed.like/{newest}": make_post("a like"),
        f"{POST}/{old[:-1]}z": make_post("b"),
        f"{POST}/zzzzzzzzzzzzz": make_post("no TID, it begins too high"),
        f"{POST}/{newest}z": make_post("no TID, it is too long"),
        "app.bsky.actor.profile/self": make_post("profile"),
    }
    for more in ({}, {"prev": None}, {"prev": cid_of(b"before")}):
        outcome = convert(car_with({"version": 2, **more}, records), SIZES)
        root, blocks = plain_convert.read_blocks(outcome.data)
        commit = parse_commit(blocks[root])
        assert (commit.version, commit.rev, commit.prev) == (3, tid_of(1_700_000_000_000_000, 6), None)


def test_a_rev_after_which_there_is_none_is_an_error_and_no_file():
    with pytest.raises(EuroskyError) as caught:
        convert(car_with({"version": 3, "rev": LAST_TID, "prev": None}, {f"{POST}/a": PICTURE}), SIZES)
    assert DID in caught.value.message or LAST_TID in caught.value.message


def test_a_rev_after_which_there_is_none_is_no_matter_where_nothing_changes():
    data = car_with({"version": 3, "rev": LAST_TID, "prev": None}, make_posts(2))
    assert convert(data, SIZES).conversion.rev == LAST_TID


def test_a_rev_after_which_there_is_none_is_no_matter_either_where_everything_is_kept():
    data = car_with({"version": 3, "rev": LAST_TID, "prev": None}, {f"{POST}/a": PICTURE})
    assert convert(data, {}).conversion.rev == LAST_TID


def test_the_signature_is_64_zero_bytes_without_a_key_and_the_keys_with_one():
    data = make_repo_car({f"{POST}/a": PICTURE})
    void, signed = convert(data, SIZES), convert(data, SIZES, key=KEY)
    commits = []
    for outcome in (void, signed):
        root, blocks = plain_convert.read_blocks(outcome.data)
        commits.append(parse_commit(blocks[root]))
    assert (void.conversion.signature, commits[0].sig) == ("void", bytes(64))
    assert signed.conversion.signature == "signed"
    with saved(signed.data) as path:
        assert verify_car(path, key=KEY.public_key).is_whole
    assert convert(data, SIZES, key=KEY).data == signed.data


# whole or not at all


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


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_refused_or_nothing_is_written(name):
    """What is damaged in most of them is a part that a change would need; see the next test for the others."""
    is_whole = not kinds(DAMAGES[name])
    try:
        outcome = convert(DAMAGES[name], transforms=[Touch()])
    except EuroskyError as error:
        said = error.message
        assert not is_whole
        assert 0 < len(said) < 1_500
    else:
        assert outcome.data is not None or not is_whole
        assert outcome.data is None or whole(outcome.data)


@pytest.mark.parametrize("name", [name for name in DAMAGES if name.startswith(("file: ", "commit: "))])
def test_a_file_without_its_parts_is_refused_though_there_be_nothing_to_change(name):
    is_whole = not kinds(DAMAGES[name])
    try:
        outcome = convert(DAMAGES[name])
    except EuroskyError:
        assert not is_whole
    else:
        assert is_whole
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
            assert whole(outcome.data)
            assert outcome.conversion.blocks_dropped == copies
    outcome = convert(make_car(repo.root, repo.blocks * (1 + copies)), SIZES)
    assert whole(outcome.data)
    assert outcome.conversion.blocks_dropped == copies * len(repo.blocks)


def run(source: Path, target: Path, **options: Any) -> Any:
    options = {"unknown_size": UnknownSize.KEEP, "blob_sizes": lambda _: SIZES, "report": lambda _: None} | options
    return convert_car(source, target, [LegacyBlobs()], **options)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "source.car"
    path.parent.mkdir()
    path.write_bytes(make_repo_car(make_posts(30) | {f"{POST}/a": PICTURE}))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "out" / "target.car"
    path.parent.mkdir()
    return path


def test_a_file_that_is_there_is_replaced(source, target):
    target.write_bytes(b"older")
    conversion = run(source, target)
    assert target.stat().st_size == conversion.size_bytes
    assert whole(target.read_bytes())
    assert list(target.parent.iterdir()) == [target]


def test_a_file_that_is_there_is_left_alone_on_an_error(source, target):
    target.write_bytes(b"older")

    def gone(_: Any) -> Any:
        raise TransientError("gone", code="host_unreachable")

    with pytest.raises(TransientError):
        run(source, target, blob_sizes=gone)
    assert (target.read_bytes(), list(target.parent.iterdir())) == (b"older", [target])


def test_a_file_that_is_there_is_left_alone_where_nothing_changes(source, target):
    target.write_bytes(b"older")
    run(source, target, blob_sizes=lambda _: {})
    assert (target.read_bytes(), list(target.parent.iterdir())) == (b"older", [target])


def test_an_interruption_at_any_report_leaves_nothing_behind(source, target):
    """Ctrl-C comes as KeyboardInterrupt, Dagster's termination as another BaseException."""
    said: list[str] = []
    run(source, target, report=said.append)
    target.unlink()
    for line in said:

        def interrupt(text: str, line: str = line) -> None:
            if text == line:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(source, target, report=interrupt)
        assert [path.name for path in target.parent.iterdir()] in ([], ["target.car"])
        assert not target.exists() or whole(target.read_bytes())
        target.unlink(missing_ok=True)


def test_an_interruption_while_the_file_is_being_opened_leaves_nothing_behind(source, target, monkeypatch):
    """A full disk comes there, too."""

    def interrupt(_: Any) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(output, "encode_commit", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(source, target)
    assert list(target.parent.iterdir()) == []


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes(len(data)))


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


@pytest.mark.parametrize("change", [cut, overwrite, append])
def test_a_file_that_is_written_to_meanwhile_is_an_error_and_no_file(source, target, change):
    def sizes(_: Any) -> dict[Cid, int]:
        change(source)
        return SIZES

    with pytest.raises(EuroskyError):
        run(source, target, blob_sizes=sizes)
    assert list(target.parent.iterdir()) == []


def test_a_file_that_is_replaced_meanwhile_is_read_to_its_end(source, target):
    """As `eurosky car convert FILE FILE` does in the end."""

    def sizes(_: Any) -> dict[Cid, int]:
        other = source.with_suffix(".other")
        other.write_bytes(make_repo_car({}))
        other.rename(source)
        return SIZES

    assert run(source, target, blob_sizes=sizes).records == 31
    assert whole(target.read_bytes())


def test_the_source_may_be_the_target(source):
    conversion = run(source, source)
    assert conversion.is_changed
    assert whole(source.read_bytes())
    assert list(source.parent.iterdir()) == [source]


def test_no_file_is_left_open(source, target):
    fds = Path("/proc/self/fd")
    if not fds.exists():
        pytest.skip("the open files are counted in /proc")
    before = len(list(fds.iterdir()))
    run(source, target)
    run(source, target, blob_sizes=lambda _: {})
    with pytest.raises(EuroskyError):
        run(source, target, blob_sizes=lambda _: {}, unknown_size=UnknownSize.FAIL)
    cut(source)
    with pytest.raises(EuroskyError):
        run(source, target)
    assert len(list(fds.iterdir())) == before


def test_what_is_read_is_told_in_bytes(source, target):
    counts: list[int] = []
    run(source, target, on_read=counts.append)
    assert sum(counts) >= source.stat().st_size
    assert min(counts) >= 0


def test_the_progress_is_told_in_lines_of_one_line():
    told = convert(make_repo_car(make_posts(7) | {f"{POST}/a": PICTURE, f"{POST}/b": PICTURE | {"x": 1}}), SIZES).told
    assert all(line and "\n" not in line and len(line) < 200 for line in told)
    text = "\n".join(told)
    for words in ("canning", "9 records", "found 2", "2 records", "ompleted"):
        assert words in text
