"""What `eurosky demo` calls verified: what the two servers say, and the migration has said too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.cli import demo
from eurosky_pipeline.cli.run_outcome import EXIT_DONE, EXIT_FAILED, EXIT_PARTIAL
from eurosky_pipeline.reconcile.verify import Verification
from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.sandbox.damage import Damage, DamagedBlob
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline_tests.unit.test_demo_waiting import ACCOUNT
from eurosky_pipeline_tests.unit.test_waiting_commands import outcome

LOST, OTHER = (cid_of(content, CODEC_RAW) for content in (b"a", b"b"))
DAMAGED = replace(ACCOUNT, damaged=(DamagedBlob(LOST, Damage.LOST, "image/png", 1),))
ALL_EQUAL = Verification(records=3, records_converted=0, blobs=2, blob_bytes=9, differences=())


@pytest.mark.parametrize(
    ("account", "named", "verification", "migrate_exit", "exit_code", "verdict"),
    [
        (ACCOUNT, [], ALL_EQUAL, EXIT_DONE, EXIT_DONE, "verified: nothing was lost"),
        (ACCOUNT, [], replace(ALL_EQUAL, differences=("x",)), EXIT_DONE, EXIT_FAILED, "NOT verified"),
        (ACCOUNT, [LOST], replace(ALL_EQUAL, differences=("x",)), EXIT_PARTIAL, EXIT_FAILED, "NOT verified"),
        (
            DAMAGED,
            [LOST],
            ALL_EQUAL,
            EXIT_PARTIAL,
            EXIT_PARTIAL,
            "verified: all but the 1 blob that the source does not give whole",
        ),
        (DAMAGED, [], ALL_EQUAL, EXIT_DONE, EXIT_FAILED, "NOT verified"),
        (DAMAGED, [OTHER], ALL_EQUAL, EXIT_PARTIAL, EXIT_FAILED, "NOT verified"),
        (DAMAGED, [LOST, OTHER], ALL_EQUAL, EXIT_PARTIAL, EXIT_FAILED, "NOT verified"),
        (DAMAGED, [LOST], replace(ALL_EQUAL, differences=("x",)), EXIT_PARTIAL, EXIT_FAILED, "NOT verified"),
    ],
    ids=["whole", "differs", "lost", "damaged", "not named", "another named", "one more named", "damaged and differs"],
)
def test_only_what_both_servers_and_the_migration_say_is_verified(
    account, named, verification, migrate_exit, exit_code, verdict, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path))
    settings = load_settings()
    registry = open_registry(settings)

    def run(token: str, _: object) -> object:
        registry.record(token, {"failed_blobs": [str(cid) for cid in named]})
        return outcome(migrate_exit)

    monkeypatch.setattr(demo, "run_migration", run)
    monkeypatch.setattr(demo, "_verify", lambda *_: verification)
    result = demo._migrate_and_verify(None, account, settings, registry, None)
    registry.close()
    assert result.exit_code == exit_code
    demo._print(result, is_json=False)
    told = capsys.readouterr()
    assert verdict in told.out
    assert all(str(cid) in told.err for cid in {LOST, OTHER} & (set(named) ^ {b.blob_cid for b in account.damaged}))
