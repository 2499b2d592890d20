"""The asset `converted_car`: what it does to the file, and what it says in the log, the progress and the UI."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, ExecuteInProcessResult

from eurosky_pipeline.artifacts.workspace import ACCOUNT_CAR, CONVERTED_CAR, Workspace
from eurosky_pipeline.atproto.blob_refs import find_blob_refs
from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.definitions import build_defs
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.orchestration.pds import PdsResource
from eurosky_pipeline.orchestration.steps import Step
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline_tests.builders import (
    make_blob_ref,
    make_block,
    make_legacy_blob_ref,
    make_post,
    make_repo_car,
    make_strong_ref,
)
from eurosky_pipeline_tests.fake_pds import FakePds
from eurosky_pipeline_tests.pipeline import told

DID = "did:plc:" + "a" * 24
FIRST, SECOND, KNOWN = b"a picture", b"another picture", b"one of a known size"
KEYS = [f"app.bsky.feed.post/3jzfcijpj2z2{letter}" for letter in "abcd"]
LIKE = "app.bsky.feed.like/3jzfcijpj2z2e"


def legacy_records() -> dict[str, Any]:
    """Three legacy references to three blobs, the size of one of which is known; and a like of a post that has one."""
    first = make_post("one", image=make_legacy_blob_ref(FIRST))
    return {
        KEYS[0]: first,
        KEYS[1]: make_post("two", image=make_legacy_blob_ref(SECOND)),
        KEYS[2]: make_post("three", images=[make_legacy_blob_ref(KNOWN, "image/png"), make_blob_ref(KNOWN)]),
        KEYS[3]: make_post("four"),
        LIKE: {"$type": "app.bsky.feed.like", "subject": make_strong_ref(KEYS[0], make_block(first)[0], did=DID)},
    }


@dataclass
class Account:
    """A migration whose repository has been exported, and its source."""

    registry: Registry
    token: str
    files: Workspace
    source: FakePds

    @property
    def original(self) -> bytes:
        return self.files.scratch(ACCOUNT_CAR).read_bytes()

    @property
    def converted(self) -> bytes:
        return self.files.fetch(CONVERTED_CAR).read_bytes()

    @property
    def progress(self) -> dict[str, Any]:
        return dict(self.registry.get(self.token).progress_data)

    def export(self, records: dict[str, Any]) -> None:
        self.files.scratch(ACCOUNT_CAR).write_bytes(make_repo_car(records, did=DID, duplicates=1))
        self.files.keep(ACCOUNT_CAR)


@dataclass
class Ran:
    """One run of the asset: its events and its log."""

    result: ExecuteInProcessResult
    log: list[str]
    observations: list[dict[str, Any]]

    @property
    def metadata(self) -> dict[str, Any]:
        (materialization,) = self.result.asset_materializations_for_node("converted_car")
        return told(materialization.metadata)

    @property
    def error(self) -> str:
        failed = next(event for event in self.result.all_events if event.is_step_failure)
        return failed.step_failure_data.user_failure_data.description


@pytest.fixture
def account(home: Path, registry: Registry, migration: Migration) -> Account:
    settings = load_settings()
    source = FakePds("old.example")
    for data in (FIRST, SECOND, KNOWN):
        source.put(data)
    made = Account(
        registry, migration.token, Workspace(settings.home, settings.resolved_artifacts, migration.token), source
    )
    made.export(legacy_records())
    return made


@pytest.fixture
def run(account: Account) -> Callable[[], Ran]:
    class FakeServers(PdsResource):
        def source(self, step: Step) -> XrpcClient:
            return account.source.client

    def materialize() -> Ran:
        with DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions(MIGRATIONS.name, [account.token])
            result = (
                build_defs(pds=FakeServers())
                .resolve_job_def("migrate_account")
                .execute_in_process(
                    instance=instance,
                    partition_key=account.token,
                    raise_on_error=False,
                    asset_selection=[AssetKey("converted_car")],
                )
            )
            entries = instance.all_logs(result.run_id)
        log = [entry.user_message for entry in entries if not entry.is_dagster_event]
        seen = [entry.asset_observation for entry in entries if entry.asset_observation]
        return Ran(result, log, [told(one.metadata) for one in seen])

    return materialize


@pytest.fixture
def switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVERT_LEGACY_BLOBS", "true")


def test_switched_off_the_file_is_passed_on_to_the_byte_and_its_references_are_counted(account, run) -> None:
    ran = run()
    assert account.converted == account.original
    assert ran.metadata["legacy_blob_refs"] == 3
    assert "3 legacy blob references, which are moved as they are" in ran.metadata["summary"]
    assert "CONVERT_LEGACY_BLOBS" in ran.metadata["summary"]
    assert "records_changed" not in ran.metadata
    assert any("3 legacy blob references" in line for line in ran.log)
    assert ran.observations == []
    assert account.source.asked == []
    path = account.files.keep(CONVERTED_CAR).uri
    assert account.progress == {"legacy_blobs_converted": False, "converted_car_path": path}


@pytest.mark.usefixtures("switched_on")
def test_switched_on_the_references_are_converted_and_the_original_stays(account, run) -> None:
    before = account.original
    ran = run()
    assert ran.result.success, ran.error
    assert account.original == before
    with open_repo(account.files.fetch(CONVERTED_CAR)) as repo:
        records = {record.key: record.value for record in repo.records()}
        assert str(repo.root) == ran.metadata["root"]
    refs = {ref.blob_cid: ref for ref in find_blob_refs(list(records.values()))}
    assert {cid: ref.size_bytes for cid, ref in refs.items()} == {
        cid_of(data, CODEC_RAW): len(data) for data in (FIRST, SECOND, KNOWN)
    }
    assert not any(ref.is_legacy for ref in refs.values())
    assert records.keys() == legacy_records().keys()


@pytest.mark.usefixtures("switched_on")
def test_the_numbers_of_a_conversion_stand_in_the_metadata_as_numbers(account, run) -> None:
    found = run().metadata
    assert {name: found[name] for name in found if type(found[name]) is int and name != "size_bytes"} == {
        "legacy_blob_refs": 3,
        "records": 5,
        "records_changed": 4,
        "refs_found": 3,
        "refs_converted": 3,
        "refs_kept": 0,
        "strong_refs_rewritten": 1,
        "sizes_known": 1,
        "sizes_fetched": 2,
        "sizes_unknown": 0,
        "nodes_rewritten": found["nodes_rewritten"],
        "blocks_dropped": 1,
    }
    assert found["size_bytes"] == len(account.converted)
    assert found["root"] != found["exported_root"]
    assert found["signature"] == "void"
    (transform,) = found["transforms"]
    assert (transform["transform"], transform["version"]) == ("legacy_blobs", "1")
    assert "3 of 3 legacy blob references, in 4 of 5 records; 1 strong references" in found["summary"]
    assert "not signed by the account's key" in found["about_the_signature"]
    assert "does not check signatures on import" in found["about_the_signature"]
    assert "other accounts" in found["about_others"]


@pytest.mark.usefixtures("switched_on")
def test_progress_tells_the_beginning_and_the_end_in_utc(account, run) -> None:
    path = run().metadata["path"]
    progress = account.progress
    started, completed = (progress.pop(f"legacy_blob_conversion_{end}_at") for end in ("started", "completed"))
    assert started <= completed
    assert started.endswith("Z")
    assert progress == {"legacy_blobs_converted": True, "converted_car_path": path}


@pytest.mark.usefixtures("switched_on")
def test_the_ui_shows_the_conversion_while_it_works(account, run) -> None:
    seen: list[dict[str, Any]] = []
    account.source.faults["getBlob"] = lambda _: seen.append(account.progress)
    (observation,) = run().observations
    assert (observation["status"], observation["legacy_blob_refs"]) == ("converting", 3)
    assert "Converting" in observation["summary"]
    assert "legacy_blob_conversion_started_at" in seen[0]
    assert "legacy_blob_conversion_completed_at" not in seen[0]


@pytest.mark.usefixtures("switched_on")
def test_every_line_of_its_log_is_found_by_the_word_legacy(account, run) -> None:
    lines = [line.lower() for line in run().log]
    assert [line for line in lines if "legacy" not in line] == []
    said = "\n".join(lines)
    places = [
        said.index(phrase)
        for phrase in (
            "scanning the car",
            "extracted 5 records",
            "found 3 legacy blob references",
            "fetching the sizes of 2 blobs",
            "fetched the sizes of 2 blobs",
            "converted 4 records",
            "completed",
            "legacy blobs converted: /",
        )
    ]
    assert places == sorted(places)


@pytest.mark.parametrize(("variable", "override", "is_converted"), [("true", False, False), ("false", True, True)])
def test_a_migrations_own_word_wins_over_the_setting(
    account, run, monkeypatch: pytest.MonkeyPatch, variable: str, override: bool, is_converted: bool
) -> None:
    monkeypatch.setenv("CONVERT_LEGACY_BLOBS", variable)
    account.registry.override_conversion(account.token, is_wanted=override)
    assert run().result.success
    assert account.progress["legacy_blobs_converted"] is is_converted
    assert (account.converted != account.original) is is_converted


@pytest.mark.usefixtures("switched_on")
def test_with_nothing_to_convert_the_original_goes_on_and_no_banner_says_otherwise(account, run) -> None:
    account.export({KEYS[3]: make_post("four", image=make_blob_ref(KNOWN))})
    ran = run()
    assert account.converted == account.original
    assert ran.metadata["summary"].endswith("It holds no legacy blob references.")
    assert (ran.metadata["records_changed"], ran.metadata["signature"]) == (0, "kept")
    assert ran.metadata["root"] == ran.metadata["exported_root"]
    assert ran.observations == []
    assert account.source.asked == []
    assert account.progress.keys() == {"legacy_blobs_converted", "converted_car_path"}


def test_a_run_without_the_switch_takes_back_what_one_with_it_has_done(account, run) -> None:
    account.registry.override_conversion(account.token, is_wanted=True)
    assert run().metadata["refs_converted"] == 3
    account.registry.override_conversion(account.token, is_wanted=False)
    assert run().result.success
    assert account.converted == account.original
    assert account.progress.keys() == {"legacy_blobs_converted", "converted_car_path"}
    assert account.progress["legacy_blobs_converted"] is False


def lose(account: Account, data: bytes) -> str:
    cid = str(cid_of(data, CODEC_RAW))
    del account.source.blobs[cid]
    return cid


@pytest.mark.usefixtures("switched_on")
def test_a_reference_of_unknown_size_is_kept_with_its_reason(account, run) -> None:
    lost = lose(account, SECOND)
    ran = run()
    assert (ran.metadata["refs_converted"], ran.metadata["refs_kept"]) == (2, 1)
    assert (ran.metadata["sizes_fetched"], ran.metadata["sizes_unknown"]) == (1, 1)
    (warning,) = ran.metadata["warnings"]
    assert warning in ran.metadata["summary"]
    assert "1 legacy blob references are kept" in warning
    (row,) = ran.metadata["blobs_without_size"]
    assert row["blob"] == lost
    assert "Blob not found" in row["why"]
    assert any(lost in line and "Blob not found" in line for line in ran.log)
    assert account.progress["legacy_blobs_converted"] is True


@pytest.mark.usefixtures("switched_on")
def test_where_no_reference_could_be_converted_the_original_goes_on(account, run) -> None:
    account.export({KEYS[1]: legacy_records()[KEYS[1]]})
    lose(account, SECOND)
    ran = run()
    assert account.converted == account.original
    assert (ran.metadata["refs_found"], ran.metadata["refs_converted"], ran.metadata["refs_kept"]) == (1, 0, 1)
    assert account.progress["legacy_blobs_converted"] is False
    assert "legacy_blob_conversion_completed_at" in account.progress  # it was worked on
    assert "Converted" not in ran.metadata["summary"]


@pytest.mark.usefixtures("switched_on")
def test_a_failed_conversion_is_told_with_its_stack_and_keeps_the_original_alone(account, run, monkeypatch) -> None:
    assert run().result.success
    lost = lose(account, SECOND)
    monkeypatch.setenv("UNKNOWN_BLOB_SIZE", "fail")
    before = account.original
    ran = run()
    assert not ran.result.success
    assert lost in ran.error
    after = account.registry.get(account.token)
    assert (after.state, after.error_code, after.stopped_in) == (State.FAILED, "blob_size_unknown", State.PENDING_REPO)
    (told,) = [line for line in ran.log if "Traceback" in line]
    assert "BlobSizeUnknownError" in told
    assert "legacy_blobs.py" in told
    assert "[blob_size_unknown]" in told
    assert account.original == before
    left = [path.name for path in account.files.scratch(ACCOUNT_CAR).parent.iterdir()]
    assert left == [ACCOUNT_CAR]  # the converted file of the run before must not be imported
    assert account.progress.keys() == {"legacy_blob_conversion_started_at"}


@pytest.mark.usefixtures("switched_on")
def test_a_failed_conversion_is_retried_with_the_switch_off(account, run, monkeypatch) -> None:
    lose(account, SECOND)
    monkeypatch.setenv("UNKNOWN_BLOB_SIZE", "fail")
    assert not run().result.success
    assert account.registry.retry(account.token).state is State.PENDING_REPO
    account.registry.override_conversion(account.token, is_wanted=False)
    assert run().result.success
    assert account.converted == account.original
    assert account.registry.get(account.token).error_code is None


@pytest.mark.usefixtures("switched_on")
def test_a_session_that_the_source_refuses_fails_the_migration(account, run) -> None:
    from eurosky_pipeline_tests.fake_pds import json_answer

    account.source.faults["getBlob"] = lambda _: json_answer({"error": "RepoTakendown", "message": "no"}, 400)
    ran = run()
    assert account.registry.get(account.token).error_code == "repo_taken_down"
    assert not ran.result.success
