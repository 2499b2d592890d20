"""Which migrations a question is about: one, some, or all."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, or_, select

from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.tables import migrations


@dataclass(frozen=True, slots=True)
class Cohort:
    """Some migrations; every condition that is given has to hold.

    Attributes:
        states: in any of these; none for all.
        host: that leave this server, or move to it; its base URL.
        since: registered then or later.
    """

    states: Collection[State] = ()
    host: str | None = None
    since: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        columns, found = migrations.c, list[ColumnElement[bool]]()
        if self.states:
            found.append(columns.state.in_(list(self.states)))
        if self.host is not None:
            found.append(or_(columns.source_pds == self.host, columns.destination_pds == self.host))
        if self.since is not None:
            found.append(columns.created_at >= self.since)
        return found


Which = str | Cohort | None
"""A token, a cohort, or all migrations."""


def is_among(token: ColumnElement[Any], which: Which) -> list[ColumnElement[bool]]:
    """The conditions, none or one, on a column of tokens."""
    if which is None:
        return []
    if isinstance(which, str):
        return [token == which]
    conditions = which.conditions()
    return [token.in_(select(migrations.c.token).where(*conditions))] if conditions else []
