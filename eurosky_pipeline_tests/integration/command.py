"""The `eurosky` command as a person runs it: a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EUROSKY = str(Path(sys.executable).with_name("eurosky"))


@dataclass(frozen=True)
class Finished:
    """How a command ended; `json` is its stdout, which must be one JSON value."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


def eurosky(*arguments: str, home: Path, timeout_s: float = 240, **variables: str) -> Finished:
    """Run to the end. The environment is a person's: no setting of ours but the home and `variables`."""
    process = subprocess.run(
        [EUROSKY, *arguments],
        env=environment(home, **variables),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Finished(process.returncode, process.stdout, process.stderr)


def environment(home: Path, **variables: str) -> dict[str, str]:
    """Nothing starts by itself but where a test says so: most of them start their runs by hand."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("EUROSKY", "DAGSTER"))}
    quiet = {"EUROSKY_SENSORS_OFF": "new_migrations,resume_waiting,stuck_migrations"}
    return {**inherited, "EUROSKY_HOME": str(home), **quiet, **variables}
