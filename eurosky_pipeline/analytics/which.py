"""Which migrations a question is about: one, some, or all."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, select

from eurosky_pipeline.registry.queries import Wanted
from eurosky_pipeline.registry.tables import migrations

Which = str | Wanted | None
"""A token, conditions, or all migrations."""


def is_among(token: ColumnElement[Any], which: Which) -> list[ColumnElement[bool]]:
    """The conditions, none or one, on a column of tokens."""
    if which is None:
        return []
    if isinstance(which, str):
        return [token == which]
    conditions = which.conditions()
    return [token.in_(select(migrations.c.token).where(*conditions))] if conditions else []
