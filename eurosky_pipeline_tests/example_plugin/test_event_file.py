"""The event sink's own test, as its author would write it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from eurosky_event_file import EventFile

from eurosky_pipeline.plugins.conformance import check_event_sink


def test_it_keeps_the_promises_of_an_event_sink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = tmp_path / "events.jsonl"
    monkeypatch.setenv("EVENT_FILE", str(events))

    def received() -> set[int]:
        return {json.loads(line)["id"] for line in events.read_text().splitlines()}

    @contextmanager
    def down() -> Iterator[None]:
        kept = events.rename(tmp_path / "kept")
        events.mkdir()
        yield
        events.rmdir()
        kept.rename(events)

    check_event_sink(EventFile, received=received, down=down)
    assert events.stat().st_mode & 0o077 == 0


def test_without_its_setting_it_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVENT_FILE", raising=False)
    assert not EventFile().is_configured()
