"""A home of its own for every test here, and a registry in it; no server, no network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from eurosky_pipeline.registry.migration import Migration, NewMigration
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.settings import load_settings

PASSWORD = "canary-5f0c1e"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    return tmp_path / "home"


@pytest.fixture
def registry(home: Path) -> Iterator[Registry]:
    opened = open_registry(load_settings())
    yield opened
    opened.close()


@pytest.fixture
def migration(registry: Registry) -> Migration:
    new = NewMigration("did:plc:" + "a" * 24, "https://old.example", "https://new.example", handle="alice.example")
    return registry.add(new, {Side.DESTINATION: SecretStr(PASSWORD)})
