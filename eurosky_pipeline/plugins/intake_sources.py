"""Intake sources: where new migrations come from, polled by the sensor `new_migrations`.

A tick makes a new instance of every source that the settings name, and takes it through these steps:

    poll(context)                          once; what it yields is an offer: an account, or a migration that shall start
    answered(offer, reply, token, reason)  for each offer that was drawn, later: several may be drawn before
    close()                                once, in whatever way the tick has ended

A source offers; the pipeline registers and starts, by the same rules as `eurosky migrations import`. What a source
never gets: the registry, credentials that are stored, a client, a path.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Final

from eurosky_pipeline.plugins.foreign import handed

if TYPE_CHECKING:  # whoever converts a file makes no accounts, and need not wait for pydantic
    from pydantic import SecretStr

PASSWORDS: Final = ("destination_password", "source_password")
"""The fields of an account that are secret."""

ACCOUNT_FIELDS: Final = (
    "did",
    "handle",
    "source_pds",
    "destination_pds",
    *PASSWORDS,
    "convert_legacy_blobs",
    "allow_active_destination",
)
"""What an account can say: the columns of `eurosky migrations import`, but for those that name a variable of the
environment: what comes from elsewhere does not choose among this machine's secrets."""

MAX_CURSOR_CHARACTERS: Final = 4096


@dataclass(frozen=True, slots=True)
class Account:
    """One account that shall be moved. Nothing of it is believed: it is judged as a row of a list is.

    Attributes:
        fields: texts by name, of ACCOUNT_FIELDS; a password that comes as bare text is made a SecretStr.
        origin: for people, where it stands: "accounts.csv line 7". It is logged: no secrets.
    """

    fields: Mapping[str, str | SecretStr] = field(repr=False)
    origin: str

    def __post_init__(self) -> None:
        from pydantic import SecretStr

        bare = {name: self.fields[name] for name in PASSWORDS if isinstance(self.fields.get(name), str)}
        kept = dict(self.fields) | {name: SecretStr(str(text)) for name, text in bare.items()}
        object.__setattr__(self, "fields", kept)


@dataclass(frozen=True, slots=True)
class Registered:
    """A migration that is in the registry and shall be started."""

    token: str


class Reply(StrEnum):
    """What became of an offer."""

    ADDED = "added"
    """The account is registered now, and will be started: the source can forget it."""
    UNCHANGED = "unchanged"
    """It was registered before, to the same destination: the source can forget it."""
    REJECTED = "rejected"
    """It cannot be taken as it is; the reason says why."""
    STARTED = "started"
    """A run of this migration is asked for."""


@dataclass(slots=True)
class IntakeContext:
    """What a source may know and ask for while it is polled.

    Attributes:
        limit: how many offers are drawn at most; a source need not look further.
        registered: at most so many migrations that are registered and wait to be started, the oldest wish first.
        report: takes a line for people, which the tick tells; no secrets.
        time_left_s: the seconds that are left for this source; one that goes on for longer is named as a fault.
        cursor: text of the source's own, kept from tick to tick; it may set it, up to MAX_CURSOR_CHARACTERS. It is
            kept when the tick has ended well; so what was not answered has to come again.
    """

    limit: int
    registered: Callable[[int], Sequence[Registered]]
    report: Callable[[str], None]
    time_left_s: Callable[[], float]
    cursor: str | None = None

    def __post_init__(self) -> None:
        for name in ("registered", "report", "time_left_s"):
            setattr(self, name, handed(getattr(self, name)))


class IntakeSource(ABC):
    """One place where migrations come from; a subclass has a `name`, a `version`, and at least `poll`.

    It is made without arguments, once a tick, and what it needs to know (a folder, an address) is its own business.

    Attributes:
        name: how the settings call it; lower case, digits and `_`.
        version: for people.
    """

    name: ClassVar[str]
    version: ClassVar[str]

    @abstractmethod
    def poll(self, context: IntakeContext) -> Iterable[Account | Registered]:
        """What shall be taken in or started, bit by bit: it may not be drawn to its end.

        Offered again after it was ADDED or UNCHANGED, an account does no harm, but takes the place of others.

        Raises: EuroskyError, or anything else: the tick names it, and goes on with the other sources.
        """

    def answered(self, offer: Account | Registered, reply: Reply, token: str | None, reason: str) -> None:  # noqa: B027
        """Hear what became of an offer, to acknowledge it where it came from.

        Called at least once for each that was drawn, unless the process ends before; then it has to be offered again.

        Args:
            token: of the migration; None where the account was rejected.
            reason: why it was rejected, on one line and without secrets; else empty, or a warning.
        """

    def close(self) -> None:  # noqa: B027
        """Let go of files and connections; the tick is over, in whatever way. May be called more than once."""
