"""What a row of a list is, before anybody has judged it; and the names that its columns can have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from eurosky_pipeline.errors import PermanentError, SettingsError
from eurosky_pipeline.words import one_line

COLUMNS: Final = (
    "did",
    "handle",
    "source_pds",
    "destination_pds",
    "destination_password",
    "destination_password_env",
    "source_password",
    "source_password_env",
    "convert_legacy_blobs",
    "allow_active_destination",
)
"""What a row can say."""
TOLD_ONLY: Final = (
    "token",
    "state",
    "resume_at",
    "attempts",
    "blobs_total",
    "blobs_completed",
    "blobs_failed",
    "bytes_transferred",
    "reconciliation_status",
    "error_code",
    "created_at",
    "updated_at",
)
"""What an export tells beside it, and an import leaves unread."""
_KNOWN: Final = frozenset({*COLUMNS, *TOLD_ONLY})
MAX_FIELD_BYTES: Final = 64 * 1024
MAX_ROW_BYTES: Final = 4 * MAX_FIELD_BYTES
TOO_LONG: Final = f"a field, or the whole row, is too long: {MAX_FIELD_BYTES // 1024} KiB is the most for a field"
_MAX_REASON: Final = 240
_NAMES_TOLD: Final = 5


class RowRefused(PermanentError):
    """A row cannot be taken; the others of its list may be. `message` is the reason, and repeats no password."""

    default_code = "row_refused"


@dataclass(frozen=True, slots=True)
class Row:
    """The values of one row, as texts, by column; only what was given. Never shown: passwords may be anywhere.

    Attributes:
        line: of the file, from 1, where the row begins.
    """

    line: int
    values: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that is not taken, and why: on one line, printable, and without a password."""

    line: int
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", one_line(self.reason, _MAX_REASON))


def check_header(names: Sequence[str]) -> None:
    """Whether this is the header of a list.

    Raises: SettingsError, as `check_columns`, and if none of the names says which account a row is about.
    """
    if not _KNOWN.intersection(names):  # nothing of it is repeated: it may be a row, with its password
        raise SettingsError(
            "the list does not begin with the names of its columns",
            code="list_columns",
            hint=f"its first line names them: {', '.join(COLUMNS[:5])} …; `eurosky migrations import --help` has all",
        )
    check_columns(names)
    if "did" not in names and "handle" not in names:
        raise SettingsError(
            "the list has neither a column did nor a column handle",
            code="list_columns",
            hint="one of them says which account a row is about",
        )


def check_columns(names: Sequence[str]) -> None:
    """Whether a list can have these; before anything is added, since an unknown one may be a misspelt password.

    Raises: SettingsError for names that are unknown, or come twice.
    """
    unknown = [name for name in names if name not in _KNOWN]
    twice = sorted({name for name in names if name in _KNOWN and names.count(name) > 1})
    if unknown or twice:
        shown = ", ".join(repr(one_line(name, 40)) for name in (unknown or twice)[:_NAMES_TOLD])
        more = ", …" if len(unknown or twice) > _NAMES_TOLD else ""
        raise SettingsError(
            f"the list has columns that are {'unknown' if unknown else 'there twice'}: {shown}{more}",
            code="list_columns",
            hint=f"nothing was added; the columns are {', '.join(COLUMNS)}",
        )
