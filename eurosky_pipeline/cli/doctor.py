"""`eurosky doctor`: what is wrong here, and what to do."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from eurosky_pipeline.cli.output import json_option, print_json, print_table, tell

if TYPE_CHECKING:
    from eurosky_pipeline.preflight.diagnosis import Diagnosis
    from eurosky_pipeline.settings import Settings

EXIT_BAD = 3
_DAGSTER_TIMEOUT_S = 90.0
"""To import it alone takes seconds on a busy machine."""


@click.command()
@json_option
def doctor(*, is_json: bool) -> None:
    """Say what is wrong with this installation, and what to do about it.

    Looks at packages, settings, folders, database, key, events, disk, sandbox, the servers of active migrations, the
    PLC directory, and Dagster's instance. Each row is ok, warn or bad. Nothing is made, mended or changed.

    \b
    Exit code: 0 nothing is bad · 3 something is · 1 stopped · 2 bad arguments
    """
    from eurosky_pipeline.preflight.diagnosis import Health
    from eurosky_pipeline.preflight.doctor import diagnose

    rows = list(diagnose(_look_at_dagster, dagster_timeout_s=_DAGSTER_TIMEOUT_S))
    bad = sum(row.verdict is Health.BAD for row in rows)
    if is_json:
        print_json({"ok": not bad, "checks": [asdict(row) for row in rows]})
    else:
        print_table(
            ["what", "verdict", "found", "what to do"], [(r.name, r.verdict, r.found, r.what_to_do) for r in rows]
        )
        warnings = sum(row.verdict is Health.WARN for row in rows)
        tell(f"bad: {bad}, warnings: {warnings}" if bad or warnings else "nothing is wrong")
    sys.exit(EXIT_BAD if bad else 0)


def _look_at_dagster(settings: Settings) -> list[Diagnosis]:
    from eurosky_pipeline.orchestration.health import look_at_dagster
    from eurosky_pipeline.orchestration.switches import check_names, is_on_by_itself

    check_names(settings)
    return look_at_dagster(settings, is_on_by_itself())
