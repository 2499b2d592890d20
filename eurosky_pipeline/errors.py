"""The error tree: what went wrong decides who tries again.

EuroskyError
 +-- TransientError          worth trying again; may carry `retry_after_s`
 +-- PermanentError          this item will never work: record it, go on with the rest
 |    +-- IntegrityError     bytes are not what their CID, or the format, says
 +-- FatalError              stop this migration, or command; a person has to act
      +-- SettingsError      the environment or an argument is wrong
      +-- ConflictError      somebody else holds or changed what we were about to change
      +-- StoppedError       a person asked for it; nothing is wrong

Every error says three things: what happened (`message`, with the host and what was asked), a stable
`code` for machines, and what to do next (`hint`). None of them ever carries a secret. Every code, with its meaning,
stands in docs/troubleshooting.md.
"""

from __future__ import annotations


class EuroskyError(Exception):
    """Root of every error that this package raises on purpose.

    Args:
        message: what happened and where, in one sentence.
        code: stable snake_case name, for logs, the registry and `--json`.
        hint: what the reader can do next; may be empty.
    """

    default_code = "error"

    def __init__(self, message: str, *, code: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint

    def with_hint(self) -> str:
        """The message and, where there is one, the hint: the text that a person should see."""
        return f"{self.message} → {self.hint}" if self.hint else self.message


class TransientError(EuroskyError):
    """The same request may work later. `retry_after_s` is the server's own word on when, in seconds, if it gave one."""

    default_code = "transient"

    def __init__(
        self, message: str, *, code: str | None = None, hint: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.retry_after_s = retry_after_s


class PermanentError(EuroskyError):
    """This item will never work, however often it is tried; the others may."""

    default_code = "permanent"


class IntegrityError(PermanentError):
    """Bytes do not hash to their CID, or are not in the format that they claim.

    Args:
        offset: position in bytes, in the file or buffer being read, where the fault stands; None if it has no place.

    `message` tells the place too, `detail` does not.
    """

    default_code = "integrity"

    def __init__(self, message: str, *, code: str | None = None, hint: str = "", offset: int | None = None) -> None:
        super().__init__(message if offset is None else f"{message} (at byte {offset})", code=code, hint=hint)
        self.detail = message
        self.offset = offset


class FatalError(EuroskyError):
    """Nothing further can be done for this migration, or this command, until a person has acted."""

    default_code = "fatal"


class SettingsError(FatalError):
    """A setting or an argument is missing or wrong."""

    default_code = "settings"


class ConflictError(FatalError):
    """The registry's row, or its lease, is not what the caller thought it was."""

    default_code = "conflict"


class StoppedError(FatalError):
    """Somebody asked the work to stop; nothing is wrong with the migration."""

    default_code = "stopped"
