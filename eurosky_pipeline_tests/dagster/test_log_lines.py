"""What a run's log says: each line names its migration, and a thousand failures do not fill it."""

from __future__ import annotations

import ast
import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import AssetKey, DagsterInstance
from pydantic import SecretStr

import eurosky_pipeline
from eurosky_pipeline.artifacts.workspace import MANIFEST_CSV, Workspace
from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.definitions import build_defs
from eurosky_pipeline.orchestration.assets.transferred_blobs import FAILURES_LOGGED
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.registry.migration import Migration, NewMigration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.transfer.manifest import COLUMNS
from eurosky_pipeline_tests.dagster.conftest import PASSWORD
from eurosky_pipeline_tests.stub_pds import Answer, StubPds, stub_pds

DID = "did:plc:" + "a" * 24
LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "log"}
NAMED_ELSEWHERE = {"_told_with_stack(context, error)", "line"}
"""Arguments that are whole lines already; who makes them begins those of one migration with its token."""
OF_MANY = {
    "migrations that may go on are resumed in this tick",
    "passwords deleted: ",
    "EUROSKY_RETENTION_DAYS is not set",
    "migrations purged: ",
    "runs are launched again",
    "runs of finished migrations that a stop has broken off",
    "migrations are started",
    "runs have vanished",
}
"""Lines about all migrations, or none."""


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a logger's method below the commands, and where it is."""
    root = Path(eurosky_pipeline.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if path.is_relative_to(root / "cli"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr in LEVELS and ast.unparse(node.func.value).endswith(("log", "logger")):
                yield f"{path.relative_to(root)}:{node.lineno}", node


@pytest.mark.parametrize(("place", "call"), [pytest.param(*found, id=found[0]) for found in log_calls()])
def test_a_line_begins_with_the_migrations_token(place: str, call: ast.Call) -> None:
    text = ast.unparse(call.args[0])
    if text in NAMED_ELSEWHERE or any(piece in text for piece in OF_MANY):
        return
    assert isinstance(call.args[0], ast.JoinedStr), f"{place}: a line without anything in it"
    before, token, after, *_ = call.args[0].values
    assert isinstance(before, ast.Constant), place
    assert isinstance(after, ast.Constant), place
    assert (before.value, str(after.value)[:2]) == ("[", "] "), place
    assert isinstance(token, ast.FormattedValue), place
    assert ast.unparse(token.value).rpartition(".")[2] in {"token", "partition_key"}, place


def test_there_are_lines_to_look_at() -> None:
    assert len(list(log_calls())) >= 8


@pytest.fixture
def source() -> Iterator[StubPds]:
    """It has lost every blob."""
    with stub_pds() as stub:
        lost = Answer.of_json({"error": "InvalidRequest", "message": "Blob not found\n[EURO-X] all is well"}, 400)
        stub.routes["com.atproto.sync.getBlob"] = lambda _: lost
        yield stub


@pytest.fixture
def destination() -> Iterator[StubPds]:
    """It lists nothing as missing, has no blob, and lets anybody in."""
    with stub_pds() as stub:
        session = Answer.of_json({"did": DID, "accessJwt": "access", "refreshJwt": "refresh"})
        stub.routes |= {
            "com.atproto.server.createSession": lambda _: session,
            "com.atproto.server.describeServer": lambda _: Answer.of_json({"did": "did:web:new.example"}),
            "com.atproto.repo.listMissingBlobs": lambda _: Answer.of_json({"blobs": []}),
            "com.atproto.sync.getBlob": lambda _: Answer.of_json({"error": "BlobNotFound"}, 404),
        }
        yield stub


@pytest.fixture
def migration(registry: Registry, source: StubPds, destination: StubPds, monkeypatch: pytest.MonkeyPatch) -> Migration:
    monkeypatch.setenv("EUROSKY_ALLOW_PRIVATE_HOSTS", "1")
    added = registry.add(NewMigration(DID, source.url, destination.url), {Side.DESTINATION: SecretStr(PASSWORD)})
    registry.transition(added.token, State.PENDING_REPO, State.PENDING_BLOBS)
    return registry.get(added.token)


def transferred(migration: Migration, blobs: int) -> list[str]:
    """The log's lines of a transfer of so many blobs."""
    settings = load_settings()
    files = Workspace(settings.home, settings.resolved_artifacts, migration.token)
    with files.scratch(MANIFEST_CSV).open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for number in range(blobs):
            rows.writerow([cid_of(str(number).encode(), CODEC_RAW), "image/png", 1, True, False, True, 1, "a.b.c/x"])
    with DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(MIGRATIONS.name, [migration.token])
        result = (
            build_defs()
            .resolve_job_def("migrate_account")
            .execute_in_process(
                instance=instance,
                partition_key=migration.token,
                asset_selection=[AssetKey("transferred_blobs")],
                raise_on_error=False,
            )
        )
        assert result.success
        return [entry.user_message for entry in instance.all_logs(result.run_id) if not entry.is_dagster_event]


def test_each_blob_that_fails_is_a_line_with_token_cid_outcome_and_code(migration: Migration) -> None:
    lines = transferred(migration, 2)
    assert len(lines) == 3
    for number, line in enumerate(sorted(lines[:2], key=lambda line: str(cid_of(b"0", CODEC_RAW)) not in line)):
        cid = cid_of(str(number).encode(), CODEC_RAW)
        assert line.startswith(f"[{migration.token}] {cid} missing_at_source: ")
        assert line.endswith("[missing_at_source]")
        assert "\n" not in line, "a server does not write lines of its own"
    assert lines[2] == f"[{migration.token}] 0 of 2 blobs, 0 B; failed: 2 missing_at_source"


def test_many_failures_are_summed_up(migration: Migration, registry: Registry) -> None:
    lines = transferred(migration, FAILURES_LOGGED + 25)
    assert len(lines) == FAILURES_LOGGED + 2
    assert lines[-2] == f"[{migration.token}] more blobs have failed; from here on only the ledger names them"
    assert lines[-1].endswith(f"; failed: {FAILURES_LOGGED + 25} missing_at_source")
    assert len(registry.outcomes(migration.token)) == FAILURES_LOGGED + 25
