"""The intake source's own test, as its author would write it."""

import json
from pathlib import Path

import pytest
from eurosky_admin_export import AdminExport

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.plugins.conformance import check_intake_source
from eurosky_pipeline.plugins.intake_sources import IntakeContext

USERS = [
    {"did": f"did:plc:{name * 8}", "handle": f"{name}.example", "host": "https://old.example",
     "moves_to": "https://new.example", "new_password": f"secret of {name}", "since": 2023}
    for name in ("abc", "xyz")
]  # fmt: skip
ACCOUNTS = [
    {"did": user["did"], "handle": user["handle"], "source_pds": user["host"],
     "destination_pds": user["moves_to"], "destination_password": user["new_password"]}
    for user in USERS
]  # fmt: skip


def test_it_keeps_the_promises_of_an_intake_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export = tmp_path / "export.json"
    monkeypatch.setenv("ADMIN_EXPORT", str(export))

    def arrange() -> None:
        (tmp_path / "export.json.answers.jsonl").unlink(missing_ok=True)
        export.write_text(json.dumps(USERS))

    check_intake_source(AdminExport, arrange, accounts=ACCOUNTS)


def test_without_its_setting_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADMIN_EXPORT", raising=False)
    with pytest.raises(SettingsError, match="ADMIN_EXPORT is not set"):
        list(AdminExport().poll(IntakeContext(1, lambda most: [], print, lambda: 1.0)))
