"""Where a client's access token comes from."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Protocol


class Authorization(Protocol):
    """Where a client gets its access token from; `Session` is the real one."""

    def access_token(self) -> str | None:
        """The token to send now; None to ask without one. Never asks the network."""

    def renew(self, stale_token: str | None, stop: threading.Event) -> None:
        """Replace `stale_token`, or open what was not open yet (None); once, however many threads ask.

        `stop` ends the wait for the host's leave to ask it, with a StoppedError.
        """

    def is_doubtful(self, token: str) -> bool:
        """Whether the token itself may be why a host failed (500): some do so instead of refusing it."""

    def secrets(self) -> Iterable[str]:
        """What must not stand in an error, should the host repeat it."""
