"""Which of a seeded account's blobs are spoilt, and how."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.sandbox import damage
from eurosky_pipeline.sandbox.damage import Damage, DamagedBlob, blob_path, damage_blobs, plan_damage
from eurosky_pipeline.sandbox.servers import new_pds_secrets
from eurosky_pipeline.sandbox.state import SandboxState, ServerState
from eurosky_pipeline_tests.unit.test_sandbox_seed import DID, fake_blobs

BLOBS = fake_blobs(60)
CONTENT = b"a picture that somebody has taken"


@pytest.fixture
def sandbox(tmp_path: Path) -> SandboxState:
    """One that has never been started; its source keeps one blob."""
    plc, source, destination = (
        ServerState(name, 20_000 + n, None, tmp_path / name) for n, name in enumerate(("plc", "source", "destination"))
    )
    return SandboxState(tmp_path, plc, source, destination, new_pds_secrets(), new_pds_secrets())


@pytest.fixture
def blob(sandbox: SandboxState) -> Path:
    path = blob_path(sandbox, DID, cid_of(CONTENT, CODEC_RAW))
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    return path


def damaged(damage: Damage) -> DamagedBlob:
    return DamagedBlob(cid_of(CONTENT, CODEC_RAW), damage, "image/png", len(CONTENT))


def test_the_kinds_of_damage_come_in_turn() -> None:
    assert [blob.damage for blob in plan_damage(BLOBS, 7, "a")] == [*Damage, *Damage, Damage.LOST]


def test_each_blob_is_damaged_once_and_all_can_be() -> None:
    chosen = plan_damage(BLOBS, 60, "a")
    assert {blob.blob_cid for blob in chosen} == {blob.blob_cid for blob in BLOBS}
    assert plan_damage(BLOBS, 0, "a") == ()


def test_no_type_of_file_is_damaged_twice_before_every_type_once() -> None:
    types = Counter(blob.mime_type for blob in plan_damage(BLOBS, 6, "a"))
    assert types == dict.fromkeys({blob.mime_type for blob in BLOBS}, 1)


def test_the_seeds_name_decides_which() -> None:
    assert plan_damage(BLOBS, 6, "a") == plan_damage(BLOBS, 6, "a")
    assert plan_damage(BLOBS, 6, "a") != plan_damage(BLOBS, 6, "b")
    assert plan_damage(BLOBS, 6, "a") == plan_damage(BLOBS, 9, "a")[:6]


def test_a_lost_blob_has_no_file(sandbox: SandboxState, blob: Path) -> None:
    damage_blobs(sandbox, DID, [damaged(Damage.LOST)])
    assert not blob.exists()


def test_a_corrupt_blob_has_as_many_bytes_and_one_is_another(sandbox: SandboxState, blob: Path) -> None:
    damage_blobs(sandbox, DID, [damaged(Damage.CORRUPT)])
    found = blob.read_bytes()
    assert len(found) == len(CONTENT)
    assert sum(one != other for one, other in zip(found, CONTENT, strict=True)) == 1


def test_what_is_done_is_told_and_which_outcomes_it_will_have(sandbox: SandboxState, blob: Path) -> None:
    told: list[str] = []
    damage_blobs(sandbox, DID, [damaged(Damage.CORRUPT), damaged(Damage.LOST)], told.append)
    damage_blobs(sandbox, DID, [], told.append)
    assert told == [
        "damaging 2 of its blobs on the source: 1 corrupt, 1 lost",
        "their outcomes will be 1 corrupt_at_source, 1 missing_at_source",
    ]


def test_why_one_that_was_taken_down_will_be_missing_is_told(
    sandbox: SandboxState, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(damage, "_take_down", lambda *_: None)
    told: list[str] = []
    damage_blobs(sandbox, DID, [damaged(Damage.LOST), damaged(Damage.TAKEN_DOWN)], told.append)
    assert (
        told[1]
        == "their outcomes will be 2 missing_at_source; the source says the same of one taken down as of a lost one"
    )
