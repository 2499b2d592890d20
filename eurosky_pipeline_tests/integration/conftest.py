"""One real sandbox for all integration tests: a PLC directory and two PDSes, up once and down at the end."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from eurosky_pipeline.sandbox.network import down, up
from eurosky_pipeline.sandbox.state import SandboxState


@dataclass(frozen=True)
class RunningSandbox:
    """A running sandbox, and the home that it is in (`EUROSKY_HOME` as long as the tests run)."""

    home: Path
    state: SandboxState


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    home = tmp_path_factory.mktemp("eurosky-home")
    before = os.environ.get("EUROSKY_HOME")
    os.environ["EUROSKY_HOME"] = str(home)
    try:
        yield RunningSandbox(home, up(home, report=print))
    finally:
        down(home, report=print)
        if before is None:
            del os.environ["EUROSKY_HOME"]
        else:
            os.environ["EUROSKY_HOME"] = before
