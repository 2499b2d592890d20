"""What `eurosky sandbox seed` tells a person to do next."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from eurosky_pipeline.cli.main import main
from eurosky_pipeline.sandbox import seed, state
from eurosky_pipeline_tests.unit.test_demo_waiting import ACCOUNT


def test_the_line_that_moves_the_account_says_all_that_is_known_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path))
    monkeypatch.setattr(state, "load_state", lambda _: object())
    monkeypatch.setattr(state, "is_running", lambda _: True)
    monkeypatch.setattr(seed, "seed", lambda *_, **__: ACCOUNT)
    with pytest.raises(SystemExit) as left:
        main(["sandbox", "seed"])
    line = next(line for line in capsys.readouterr().err.splitlines() if "migrations add" in line)
    words = shlex.split(line)[3:]
    assert left.value.code in {0, None}
    assert dict(zip(words[::2], words[1::2], strict=True)) == {
        "--did": ACCOUNT.did,
        "--handle": ACCOUNT.handle,
        "--source-pds": ACCOUNT.source_pds,
        "--destination-pds": ACCOUNT.destination_pds,
        "--destination-password-env": "SEED_PASSWORD",
    }
