"""The benchmarks' repositories and their plain conversion: what is measured has to be the real thing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import rebuild
from benchmarks.chance import Chance, number_of
from benchmarks.document import replace_table
from benchmarks.legacy_repository import Written, write_legacy_repository
from benchmarks.repository import DID, write_repository
from eurosky_pipeline.atproto.aturi import parse_at_uri
from eurosky_pipeline.atproto.blob_refs import BlobRef, find_blob_refs
from eurosky_pipeline.atproto.car import CarReader
from eurosky_pipeline.atproto.cid import parse_cid
from eurosky_pipeline.atproto.mst_node import NODE_START
from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.atproto.verify import Verification, verify_car

COUNT = 3000
SHARE = 0.05


@pytest.fixture
def legacy(tmp_path: Path) -> tuple[Path, Written]:
    file = tmp_path / "legacy.car"
    return file, write_legacy_repository(file, COUNT, legacy_share=SHARE)


@pytest.mark.parametrize("imported_share", [1.0, 0.4, 0.0])
@pytest.mark.parametrize("legacy_share", [SHARE, 0.0])
@pytest.mark.parametrize("count", [1, 2, 500])
def test_a_repository_is_whole_and_as_large_as_was_asked_for(
    tmp_path: Path, count: int, legacy_share: float, imported_share: float
) -> None:
    file = tmp_path / "account.car"
    written = write_legacy_repository(file, count, legacy_share=legacy_share, imported_share=imported_share)
    found = verified(file)
    assert (found.records, found.orphan_blocks, found.duplicate_blocks) == (count, 0, 0)
    assert written.records == count
    assert written.legacy_records == (max(1, round(count * legacy_share) + 1) if legacy_share else 0)


def test_the_repository_without_a_past_is_whole(tmp_path: Path) -> None:
    write_repository(tmp_path / "account.car", COUNT)
    assert verified(tmp_path / "account.car").records == COUNT


def test_orphan_and_duplicate_blocks_stand_there_where_they_are_asked_for(tmp_path: Path) -> None:
    write_legacy_repository(tmp_path / "old.car", COUNT, orphan_share=0.02, duplicates=7)
    found = verified(tmp_path / "old.car")
    assert found.orphan_blocks >= COUNT * 0.02
    assert found.duplicate_blocks >= 7


def test_the_same_arguments_give_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one", "same", "other")]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        write_legacy_repository(file, 200, duplicates=3, orphan_share=0.1, imported_share=0.5, seed=seed)
    one, same, other = (file.read_bytes() for file in files)
    assert one == same
    assert one != other


def test_blocks_stand_as_a_server_exports_them_newest_revision_first_and_by_cid_within_one(tmp_path: Path) -> None:
    file = tmp_path / "account.car"
    write_legacy_repository(file, 400, imported_share=0.5)
    with open_repo(file) as repo:
        keys = dict(repo.keys())
    number_by_cid = {bytes(cid): 399 if key.endswith("/self") else number_of(key[-13:]) for key, cid in keys.items()}
    with file.open("rb") as stream:
        blocks = [(bytes(cid), data) for cid, data, _ in CarReader(stream)]
    own = [number_by_cid[cid] for cid, _ in blocks if number_by_cid.get(cid, 0) >= 200]
    assert len(own) >= 198  # where two keys share a block, one of them has none of its own
    assert own == sorted(own, reverse=True)
    imported = [cid for cid, _ in blocks[-150:]]
    assert imported == sorted(imported, reverse=True)
    nodes = [place for place, (_, data) in enumerate(blocks) if data.startswith(NODE_START)]
    assert nodes[0] < 10  # the root was written with the newest record
    assert nodes[-1] > 300


def test_what_has_to_be_converted_comes_in_all_its_forms(legacy: tuple[Path, Written]) -> None:
    values = values_of(legacy[0])
    refs = {key: list(find_blob_refs(value)) for key, value in values.items()}
    legacy_keys = {key for key, found in refs.items() if any(ref.is_legacy for ref in found)}
    assert len(legacy_keys) == legacy[1].legacy_records
    collections = {key.partition("/")[0] for key in legacy_keys}
    assert collections == {
        "app.bsky.feed.post", "app.bsky.feed.generator", "com.example.album", "app.bsky.actor.profile"
    }  # fmt: skip
    posts = [values[key]["embed"]["$type"].rpartition(".")[2] for key in legacy_keys if "feed.post" in key]
    assert set(posts) == {"images", "external", "recordWithMedia"}
    assert any(sum(ref.is_legacy for ref in found) > 2 for found in refs.values())
    assert any({ref.is_legacy for ref in found} == {True, False} for found in refs.values())
    assert named(refs, is_legacy=True) & named(refs, is_legacy=False)
    assert named(refs, is_legacy=True) - named(refs, is_legacy=False) - legacy[1].blob_sizes.keys()
    assert any("com.example.gallery" in key for key in values)
    assert len({json.dumps(value, default=str) for value in values.values()}) < len(values)
    assert any("これは写真です" in value.get("text", "") for value in values.values())


def test_the_account_refers_to_its_own_posts_to_changed_ones_to_gone_ones_and_in_long_threads(
    legacy: tuple[Path, Written],
) -> None:
    values = values_of(legacy[0])
    cids = cids_of(legacy[0])
    own = {key: [ref for ref in strong_refs(value) if ref["uri"] in cids] for key, value in values.items()}
    kinds = {key.partition("/")[0] for key, refs in own.items() if refs}
    assert {"app.bsky.feed.like", "app.bsky.feed.repost", "app.bsky.feed.post", "app.bsky.actor.profile"} <= kinds
    assert any(ref["cid"] != cids[ref["uri"]] for refs in own.values() for ref in refs)

    depths: dict[str, int] = {}
    for key in sorted(own, key=lambda key: key[-13:]):  # a record is younger than those that it refers to
        depths[f"at://{DID}/{key}"] = 1 + max((depths.get(ref["uri"], 0) for ref in own[key]), default=0)
    assert max(depths.values()) >= 6


def test_the_plain_conversion_leaves_a_whole_repository_with_nothing_left_to_convert(
    legacy: tuple[Path, Written], capsys: pytest.CaptureFixture[str]
) -> None:
    file, written = legacy
    sizes, target, again = file.with_suffix(".json"), file.with_suffix(".new.car"), file.with_suffix(".again.car")
    written.save_sizes(sizes)
    rebuild.main(str(file), str(target), str(sizes))
    counts = json.loads(capsys.readouterr().out)
    assert verified(target).root == counts["root"]
    kept = [ref for value in values_of(target).values() for ref in find_blob_refs(value) if ref.is_legacy]
    assert len(kept) == counts["refs_kept"] > 0
    assert counts["records_changed"] > written.legacy_records

    before, after = values_of(file), values_of(target)
    assert before.keys() == after.keys()
    assert own_matches(file, before) == own_matches(target, after)

    rebuild.main(str(target), str(again), str(sizes))
    assert json.loads(capsys.readouterr().out)["signature"] == "kept"


def test_a_table_goes_between_its_own_marks_and_into_no_document_without_them(tmp_path: Path) -> None:
    document = tmp_path / "document.md"
    document.write_text("a <!-- x: begin -->old<!-- x: end --> b <!-- y: begin --><!-- y: end -->")
    replace_table(document, "x", "new")
    assert document.read_text() == "a <!-- x: begin -->\nnew\n<!-- x: end --> b <!-- y: begin --><!-- y: end -->"
    with pytest.raises(ValueError, match="no marks"):
        replace_table(document, "z", "new")


def test_strangers_links_are_of_the_form_that_links_have() -> None:
    chance = Chance(5)
    for _ in range(1000):
        ref = chance.strong_ref()
        parse_cid(ref["cid"])
        parse_at_uri(ref["uri"])


def verified(file: Path) -> Verification:
    found = verify_car(file)
    assert found.is_whole, found.problems
    return found


def values_of(file: Path) -> dict[str, dict[str, Any]]:
    with open_repo(file) as repo:
        return {record.key: record.value for record in repo.records()}


def cids_of(file: Path) -> dict[str, str]:
    """The CID of every record, as text, by AT-URI."""
    with open_repo(file) as repo:
        return {f"at://{DID}/{key}": str(cid) for key, cid in dict(repo.keys()).items()}


def named(refs: dict[str, list[BlobRef]], *, is_legacy: bool) -> set[Any]:
    return {ref.blob_cid for found in refs.values() for ref in found if ref.is_legacy is is_legacy}


def own_matches(file: Path, values: dict[str, dict[str, Any]]) -> list[bool]:
    """Of each strong reference, whether it names a record of the repository as it stands there."""
    cids = cids_of(file)
    return [cids.get(ref["uri"]) == ref["cid"] for value in values.values() for ref in strong_refs(value)]


def strong_refs(value: Any) -> Iterator[dict[str, str]]:
    if isinstance(value, list):
        for item in value:
            yield from strong_refs(item)
    elif isinstance(value, dict):
        if {"uri", "cid"} <= value.keys():
            yield value
        for item in value.values():
            yield from strong_refs(item)
