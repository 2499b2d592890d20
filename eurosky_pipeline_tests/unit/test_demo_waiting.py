"""`eurosky demo` where a limit puts the migration off: nothing is called verified that has not arrived."""

from __future__ import annotations

from pathlib import Path

import pytest

from eurosky_pipeline.cli import demo
from eurosky_pipeline.cli.run_outcome import EXIT_WAITING
from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.sandbox.seed import SeededAccount
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline_tests.unit.test_waiting_commands import outcome

ACCOUNT = SeededAccount(
    "did:web:a.example", "a.example", "https://old.example", "https://new.example", "old", "new", "https://plc.example"
)


def test_a_demo_whose_migration_waits_verifies_nothing_and_says_until_when(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path))
    monkeypatch.setattr(demo, "run_migration", lambda *_: outcome(EXIT_WAITING))
    monkeypatch.setattr(demo, "_verify", lambda *_: pytest.fail("what is under way has been judged"))
    settings = load_settings()
    registry = open_registry(settings)
    result = demo._migrate_and_verify(None, ACCOUNT, settings, registry, None)
    registry.close()
    assert result.exit_code == EXIT_WAITING
    demo._print(result, is_json=False)
    said = capsys.readouterr().out
    assert "waits until" in said
    assert "verdict" not in said
