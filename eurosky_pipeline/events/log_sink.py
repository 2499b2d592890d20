"""The sink `log`: each event is a line of JSON in `$EUROSKY_HOME/events.jsonl`, whichever process has told it.

Nothing that names the account is in it, no DID, handle or text of an error: a log is kept, copied and shipped, and
nobody could be forgotten there. The token is; `eurosky migrations show TOKEN` tells the rest.

The logger `eurosky_pipeline.events` gets the same lines, for who runs this with handlers of their own.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import ClassVar, Final

from eurosky_pipeline.errors import TransientError
from eurosky_pipeline.plugins.event_sinks import Event, EventSink
from eurosky_pipeline.plugins.hooks import hookimpl

LOG_NAME: Final = "events.jsonl"
MAX_LOG_BYTES: Final = 10_000_000
OLDER_LOGS: Final = 4
"""`events.jsonl.1` is the newest of them."""
_PERSONAL: Final = frozenset({"did", "handle", "error_text"})
_logger = logging.getLogger("eurosky_pipeline.events")


class LogSink(EventSink):
    """Appends to the file, which only its owner can read."""

    name: ClassVar[str] = "log"
    version: ClassVar[str] = "1"

    def __init__(self) -> None:
        self._path: Path | None = None

    def deliver(self, event: Event) -> None:
        """Raises: TransientError where the file cannot be written."""
        line = line_of(event)
        try:
            _append(self._file(), line)
        except OSError as error:
            raise TransientError(f"{LOG_NAME} cannot be written: {error.strerror}", code="events_unwritable") from None
        _logger.info(line)

    def _file(self) -> Path:
        if self._path is None:
            from eurosky_pipeline.settings import load_settings

            self._path = load_settings().home / LOG_NAME
        return self._path


@hookimpl
def eurosky_event_sinks() -> list[type[EventSink]]:
    return [LogSink]


def line_of(event: Event) -> str:
    """What the log says of an event."""
    return json.dumps({key: value for key, value in event.to_json().items() if key not in _PERSONAL})


def _append(path: Path, line: str) -> None:
    """In one piece: what two processes write does not get mixed up."""
    data = f"{line}\n".encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        size_bytes = os.fstat(descriptor).st_size
        if size_bytes == 0 or size_bytes + len(data) <= MAX_LOG_BYTES:
            os.write(descriptor, data)
            return
    finally:
        os.close(descriptor)
    _rotate(path)
    _append(path, line)


def _rotate(path: Path) -> None:
    for number in range(OLDER_LOGS, 0, -1):
        older = path if number == 1 else path.with_name(f"{path.name}.{number - 1}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number}"))
