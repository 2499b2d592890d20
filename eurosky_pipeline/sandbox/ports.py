"""Ports on loopback: choosing free ones once, and finding out who has taken one of ours."""

from __future__ import annotations

import errno
import os
import secrets
import socket
from contextlib import suppress

import psutil

# Below the range from which kernels hand out ports for outgoing connections (32768 up on Linux, 49152 up elsewhere):
# a port that we want again tomorrow must not be somebody's client socket by then.
_FIRST_PORT, _LAST_PORT = 20_000, 32_000
_LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def choose_ports(count: int) -> list[int]:
    """`count` different ports that nobody listens on."""
    chosen: list[int] = []
    while len(chosen) < count:
        port = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT)
        if port not in chosen and is_free(port):
            chosen.append(port)
    return chosen


def is_free(port: int) -> bool:
    """Whether nobody listens on `port`, on either loopback address.

    Our servers listen on 127.0.0.1 alone, but clients may try `localhost` as ::1 first and would meet a stranger there.
    """
    for family, host in _LOOPBACK:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                if os.name == "posix":
                    # as the servers do: connections that the last run closed must not count for minutes
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        except OSError as error:
            # a machine without IPv6 has no ::1 to be taken, and fails in another way
            if family == socket.AF_INET or error.errno == errno.EADDRINUSE:
                return False
    return True


def holder_of(port: int) -> str:
    """Who listens on `port`, for a message: `python (process 4711)`, or `another program` where we may not know."""
    with suppress(psutil.Error):  # other users' processes are not ours to see
        for connection in psutil.net_connections(kind="tcp"):
            is_listener = connection.status == psutil.CONN_LISTEN and connection.pid
            if is_listener and connection.laddr and connection.laddr.port == port:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return "another program"
