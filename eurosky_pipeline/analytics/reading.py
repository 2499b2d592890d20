"""From a query to a frame: read-only, and in pieces of bounded size, of which the whole is put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, Select

from eurosky_pipeline.analytics.columns import Column, typed
from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.registry.database import read_only_engine
from eurosky_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    import pandas as pd

CHUNK_ROWS: Final = 50_000


@contextmanager
def opened(settings: Settings | None = None) -> Iterator[Engine]:
    """An engine on the registry that can only read; the settings of the environment, if none are given.

    Raises: SettingsError: there is no registry yet (code `nothing_yet`), or it cannot be opened.
    """
    engine = read_only_engine(load_settings() if settings is None else settings)
    if engine is None:
        raise SettingsError(
            "nothing has been registered here yet: there is no registry to read",
            code="nothing_yet",
            hint="`eurosky demo` makes a migration; EUROSKY_HOME and EUROSKY_DATABASE_URL say where it is looked for",
        )
    try:
        yield engine
    finally:
        engine.dispose()


def rows_of(connection: Connection, query: Select[Any], columns: Sequence[Column], start: int = 0) -> pd.DataFrame:
    """The query's rows as a frame, numbered from `start`."""
    import pandas as pd

    result = connection.execute(query)
    rows = [tuple(row) for row in result]
    index = pd.RangeIndex(start, start + len(rows))
    return typed(pd.DataFrame.from_records(rows, columns=list(result.keys()), index=index), columns)


def whole(parts: Iterable[pd.DataFrame], columns: Sequence[Column]) -> pd.DataFrame:
    """The parts in one frame; categories stay categories."""
    import pandas as pd
    from pandas.api.types import union_categoricals

    found = list(parts)
    if len(found) <= 1:
        return found[0] if found else typed(pd.DataFrame(), columns)
    for column in columns:
        if column.dtype == "category":  # or they would be put together as text, one object a row
            union = union_categoricals([part[column.name] for part in found]).categories
            for part in found:
                part[column.name] = part[column.name].cat.set_categories(union)
    return pd.concat(found)
