"""From a host name to the addresses to try, within a bounded time."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from eurosky_pipeline.xrpc.errors import HostUnreachable

RESOLVE_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a host: what `socket.socket` and `socket.connect` take, so that no name is looked up again."""

    family: int
    address: tuple[Any, ...]

    @property
    def ip(self) -> str:
        return str(self.address[0])


def resolve(host: str, port: int, timeout_s: float = RESOLVE_TIMEOUT_S) -> tuple[Endpoint, ...]:
    """All addresses of `host`, each once, in the order to try them: the system's own, the two families in turn.

    In turn (RFC 8305), so that a family that is not routed here does not use up the time of the other.

    Raises:
        HostUnreachable: there is none, or the resolver did not answer within `timeout_s`.
    """
    answer: Future[list[Any]] = Future()

    def look_up() -> None:
        try:
            answer.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            answer.set_exception(error)

    # getaddrinfo knows no time-out of its own: whoever runs the name's servers could hold it for half a minute
    threading.Thread(target=look_up, name="resolve", daemon=True).start()
    try:
        found = answer.result(timeout_s)
    except TimeoutError:
        raise _unresolvable(f"the host name {host} did not resolve within {timeout_s:.0f} s") from None
    except (OSError, UnicodeError):
        raise _unresolvable(f"the host name {host} does not resolve") from None
    endpoints = list(dict.fromkeys(Endpoint(family, tuple(address)) for family, *_, address in found))
    if not endpoints:
        raise _unresolvable(f"the host name {host} does not resolve")
    first = [endpoint for endpoint in endpoints if endpoint.family == endpoints[0].family]
    other = [endpoint for endpoint in endpoints if endpoint.family != endpoints[0].family]
    return tuple(filter(None, chain.from_iterable(zip_longest(first, other))))


def _unresolvable(message: str) -> HostUnreachable:
    return HostUnreachable(
        message, code="host_unresolvable", hint="check the spelling of the host, and this machine's DNS"
    )
