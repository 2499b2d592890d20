"""A migration as the results of `eurosky migrations` have it, and what became of those that were named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eurosky_pipeline.cli.output import moment, print_json, tell
from eurosky_pipeline.errors import EuroskyError

if TYPE_CHECKING:
    from eurosky_pipeline.registry.migration import Migration
    from eurosky_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Done:
    """What a command has done to one migration.

    Attributes:
        state: as it is now; empty if there was an error.
        cancel_requested_at: ISO 8601, of a wish that a run has not heeded yet.
        note: what a person should know besides.
    """

    token: str
    state: str
    cancel_requested_at: str | None = None
    note: str = ""
    error: EuroskyError | None = None

    @property
    def is_under_way(self) -> bool:
        return self.cancel_requested_at is not None

    def as_json(self) -> dict[str, Any]:
        if self.error is not None:
            error = self.error
            return {
                "token": self.token,
                "error": {"code": error.code, "message": error.message, "hint": error.hint},
            }
        wish = {"cancel_requested_at": self.cancel_requested_at} if self.is_under_way else {}
        return {"token": self.token, "state": self.state, **wish}


def print_done(
    done: Sequence[Done], told: Callable[[Done], str], *, is_json: bool, is_list: bool | None = None
) -> None:
    """One value for one migration, a list for several; for people a line each.

    Raises: the one migration's error.
    """
    is_many = len(done) != 1 if is_list is None else is_list
    if not is_many and done[0].error is not None:
        raise done[0].error
    if is_json:
        values = [each.as_json() for each in done]
        print_json(values if is_many else values[0])
        return
    for each in done:
        if each.error is not None:
            tell(f"{click.style('error:', fg='red', bold=True)} {each.error.with_hint()} [{each.error.code}]")
        else:
            tell(told(each))
        if each.note:
            tell(f"  {each.note}")


def report_of(settings: Settings, migration: Migration) -> str | None:
    """Where the reconciliation's report is, a CSV file with a verdict on every blob; on S3, where it was put."""
    from eurosky_pipeline.artifacts.workspace import REPORT_CSV

    if "reconciliation_status" not in migration.progress_data or migration.purged_at is not None:
        return None
    location = settings.resolved_artifacts
    if not isinstance(location, Path):
        return f"{location}/{migration.token}/{REPORT_CSV}"
    path = location / migration.token / REPORT_CSV
    return str(path) if path.exists() else None


def row(migration: Migration) -> dict[str, Any]:
    """What `list` and `show` have in common."""
    return {
        "token": migration.token,
        "did": migration.did,
        "handle": migration.handle,
        "state": str(migration.state),
        "error_code": migration.error_code,
        "resume_at": moment(migration.resume_at),
        "source_pds": migration.source_pds,
        "destination_pds": migration.destination_pds,
        "created_at": moment(migration.created_at),
        "updated_at": moment(migration.updated_at),
    }
