"""The export: nothing that is not this account's whole repository gets the name `account.car`."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from eurosky_pipeline.errors import EuroskyError, FatalError, StoppedError
from eurosky_pipeline.transfer.export_repo import ExportedRepo, export_repo
from eurosky_pipeline_tests.builders import DID, OTHER_DID, make_car, make_posts, make_repo, make_repo_car
from eurosky_pipeline_tests.fake_pds import FakePds

CAR = make_repo_car(make_posts(30), orphans=[{"old": 1}], duplicates=2)


def export(repo: bytes, target: Path, **changes: object) -> ExportedRepo:
    arguments = {"max_bytes": 1_000_000, "stop": threading.Event(), **changes}
    return export_repo(FakePds("old.example", repo=repo).client, DID, target, **arguments)


def test_a_whole_repository_is_kept_byte_for_byte(tmp_path: Path) -> None:
    counted: list[int] = []
    exported = export(CAR, tmp_path / "account.car", on_bytes=counted.append)
    assert exported.path.read_bytes() == CAR
    assert exported.size_bytes == sum(counted) == len(CAR)
    assert exported.sha256 == hashlib.sha256(CAR).hexdigest()
    summary = exported.summary
    assert (summary.did, summary.records, summary.orphan_blocks, summary.duplicate_blocks) == (DID, 30, 1, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["account.car"]


def _flipped(car: bytes) -> bytes:
    return car[:-5] + bytes([car[-5] ^ 1]) + car[-4:]


def _without_a_record() -> bytes:
    repo = make_repo(make_posts(30))
    lost = next(iter(repo.records.values()))[0]
    return make_car(repo.root, [block for block in repo.blocks if block[0] != lost])


@pytest.mark.parametrize(
    ("repo", "code", "phrase"),
    [
        (make_repo_car(make_posts(3), did=OTHER_DID), "foreign_repo", OTHER_DID),
        (CAR[:-1], "repo_damaged", "at byte"),
        (_flipped(CAR), "repo_damaged", "does not hash"),
        (_without_a_record(), "repo_damaged", "is missing"),
        (b"", "repo_damaged", "empty"),
        (b"<html>not found</html>", "repo_damaged", "not whole"),
    ],
    ids=["foreign", "truncated", "flipped bit", "missing record", "empty", "a web page"],
)
def test_anything_else_is_refused_and_leaves_nothing(tmp_path: Path, repo: bytes, code: str, phrase: str) -> None:
    with pytest.raises(EuroskyError, match=phrase) as caught:
        export(repo, tmp_path / "account.car")
    assert caught.value.code == code
    assert "old.example" in caught.value.message
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_what_was_made_from_an_earlier_export_can_go_before_the_new_one_has_its_name(tmp_path: Path) -> None:
    target = tmp_path / "account.car"
    target.write_bytes(b"an earlier export")
    seen: list[tuple[bytes, int]] = []
    export(CAR, target, on_verified=lambda summary: seen.append((target.read_bytes(), summary.records)))
    assert seen == [(b"an earlier export", 30)]
    with pytest.raises(EuroskyError):
        export(CAR[:-1], target, on_verified=lambda _: pytest.fail("it was not verified"))


def test_an_earlier_export_survives_a_failed_one(tmp_path: Path) -> None:
    target = tmp_path / "account.car"
    export(CAR, target)
    with pytest.raises(EuroskyError):
        export(CAR[:-1], target)
    assert target.read_bytes() == CAR


def test_a_repository_over_the_limit_is_cut_off(tmp_path: Path) -> None:
    with pytest.raises(FatalError) as caught:
        export(CAR, tmp_path / "account.car", max_bytes=len(CAR) - 1)
    assert caught.value.code == "repo_too_large"
    assert list(tmp_path.iterdir()) == []


def test_it_stops_when_asked(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        export(CAR, tmp_path / "account.car", stop=stop)
    assert list(tmp_path.iterdir()) == []
