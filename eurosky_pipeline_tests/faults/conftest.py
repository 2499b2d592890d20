"""A sandbox for the faults alone, its PDSes with their own rate limits on: a migration has to live with them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from eurosky_pipeline.sandbox.network import down, up
from eurosky_pipeline.sandbox.state import SandboxState, load_state


@pytest.fixture(scope="package")
def sandbox_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("faults-sandbox")
    try:
        up(home, report=print, rate_limits=True)
        yield home
    finally:
        down(home, report=print, erase=True)


@pytest.fixture(scope="package")
def state(sandbox_home: Path) -> SandboxState:
    found = load_state(sandbox_home)
    assert found is not None
    return found
