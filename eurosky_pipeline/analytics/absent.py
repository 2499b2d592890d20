"""Blobs that are not at the destination, whoever knows of it: the ledger, or the reconciliation alone.

The ledger has what became of each blob when it was moved. A blob that was sent, and that the destination does not give
out in the end, stands there as transferred; it is the reconciliation's list, `failed_blobs`, that names it.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Select, Subquery, TableValuedAlias, and_, case, func, literal, null, or_, select, true, union_all

from eurosky_pipeline.analytics.which import Which, is_among
from eurosky_pipeline.registry import tables
from eurosky_pipeline.registry.ledger import ARRIVED

MISSING: Final = "missing_at_destination"
"""In the place of an outcome, where the ledger has one by which the blob arrived."""
UNKNOWN: Final = "unknown"
"""In the place of an outcome, where the ledger has no row."""
REASONS: Final = {
    MISSING: "it was sent, and is not found there as it should be: the report, a CSV file, has the reason",
    UNKNOWN: "the ledger does not have it: look into the report",
}


def absent(which: Which, dialect: str) -> Subquery:
    """One row a blob: `token`, `blob_cid`, `outcome`, `error_class`, `error_code`, `error_text`, `size_bytes`.

    Classes and codes are NULL where there is none, sizes where nobody knows them.

    Args: dialect: of the database that is going to be asked, `sqlite` or `postgresql`.
    """
    ledger = tables.blobs.c
    known = select(
        ledger.token,
        ledger.blob_cid,
        ledger.outcome,
        func.nullif(ledger.error_class, "").label("error_class"),
        func.nullif(ledger.error_code, "").label("error_code"),
        ledger.error_text,
        func.nullif(ledger.size_bytes, 0).label("size_bytes"),
    ).where(ledger.outcome.not_in(list(ARRIVED)), *is_among(ledger.token, which))
    return union_all(known, missed(which, dialect)).subquery("absent")


def missed(which: Which, dialect: str) -> Select[Any]:
    """Of the same columns, the blobs that the reconciliation alone knows of."""
    migrations, ledger, named = tables.migrations, tables.blobs.alias("ledger"), _named(dialect)
    is_unknown = ledger.c.outcome.is_(None)
    is_this = and_(ledger.c.token == migrations.c.token, ledger.c.blob_cid == named.c.value)
    return (
        select(
            migrations.c.token,
            named.c.value.label("blob_cid"),
            case((is_unknown, literal(UNKNOWN)), else_=literal(MISSING)).label("outcome"),
            null().label("error_class"),
            null().label("error_code"),
            case((is_unknown, literal(REASONS[UNKNOWN])), else_=literal(REASONS[MISSING])).label("error_text"),
            func.nullif(ledger.c.size_bytes, 0).label("size_bytes"),
        )
        .select_from(migrations.join(named, true()).outerjoin(ledger, is_this))
        .where(or_(is_unknown, ledger.c.outcome.in_(list(ARRIVED))), *is_among(migrations.c.token, which))
    )


def _named(dialect: str) -> TableValuedAlias:
    """The items of each migration's `failed_blobs`, as a table with a column `value`; nothing of what is no list."""
    progress = tables.migrations.c.progress_data
    if dialect == "sqlite":
        path = "$.failed_blobs"
        listed = case((func.json_type(progress, path) == "array", progress))
        return func.json_each(listed, path).table_valued("value", name="named")
    items = progress["failed_blobs"]
    items = case((func.json_typeof(items) == "array", items))
    return func.json_array_elements_text(items).table_valued("value", name="named").render_derived()
