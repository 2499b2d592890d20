"""The guarded way to the network: what is connected to is what the host policy has just judged.

    httpx.Client → GuardedTransport    scheme, name, port of each request; no cookies, no redirects, bounded heads
                   └ KeptConnections   keep-alive, by origin; or httpcore's pool, where the operator's proxy is between
                     └ GuardedBackend  resolves once, refuses, connects to the addresses that were judged
                       └ BoundedStream counts and times what comes between the pieces of a body

TLS is spoken with the name of the URL: certificates and the Host header are as if nothing were between. A refusal
is a SettingsError with code `host_refused`, from whichever layer, and never looks like a failed connection.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpcore
import httpx

from eurosky_pipeline.xrpc.connection import STOP, BoundedStream, socket_errors, stopped_by
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.kept import KeptConnections, Origin, origin_of
from eurosky_pipeline.xrpc.proxies import Proxies, environment_proxies
from eurosky_pipeline.xrpc.resolver import Endpoint

MAX_ADDRESSES = 8
"""Tried before a host is given up; a name may have hundreds."""
CONNECT_TIMEOUT_S = 10.0
LONGEST_IDLE_S = 4.0
"""After which a connection is not used again: servers on Node close theirs after 5 s."""
USER_AGENT = "eurosky-pipeline"
_REPEATABLE = frozenset({"GET", "HEAD"})
"""Sent again by itself where a host has hung up on a kept connection (RFC 9110, 9.2.2)."""
_SAME_IN_HTTPX = {
    getattr(httpcore, name): getattr(httpx, name)
    for name in (
        *("ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout"),
        *("ConnectError", "ReadError", "WriteError", "ProxyError"),
        *("UnsupportedProtocol", "LocalProtocolError", "RemoteProtocolError"),
    )
}


def new_http_client(workers: int, policy: HostPolicy, headers: Mapping[str, str] | None = None) -> httpx.Client:
    """The shared HTTP/1.1 client: a connection to each of two hosts for every worker, and a few more.

    The read time-out is for silence, not for the whole body. Each connection is made by the host policy, with the
    operator's proxies (see `proxies`) between; cookies are not kept.

    Args:
        headers: sent with every request, whichever the host.

    Raises:
        SettingsError: the environment names a proxy that cannot be used.
    """
    connections = 2 * workers + 4
    limits = httpx.Limits(
        max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=LONGEST_IDLE_S
    )
    return httpx.Client(
        transport=GuardedTransport(policy, limits=limits, proxies=environment_proxies()),
        follow_redirects=False,
        timeout=httpx.Timeout(60, connect=CONNECT_TIMEOUT_S),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **(headers or {})},
    )


class GuardedTransport(httpx.BaseTransport):
    """Send requests to hosts that the policy allows, and to no others; threads may share it.

    Of an answer's headers, `Set-Cookie` is dropped: no host gets to mark us, nor to see what another one set. httpx
    follows none of the redirects, whatever it is told: that is the caller's to do, hop by hop, from `Location`.
    """

    def __init__(self, policy: HostPolicy, *, limits: httpx.Limits, proxies: Proxies) -> None:
        self._tls = httpx.create_ssl_context()  # SSL_CERT_FILE and SSL_CERT_DIR are the operator's
        self._tls.set_alpn_protocols(["http/1.1"])
        self._policy = policy
        self._proxies = proxies
        self._judged: set[Origin] = set()
        self._backend = GuardedBackend(policy)
        most = limits.max_keepalive_connections or 0
        self._direct = KeptConnections(self._connect, longest_idle_s=limits.keepalive_expiry or 0.0, most=most)
        anywhere = GuardedBackend(HostPolicy(is_private_allowed=True))  # it connects to the operator's proxy only
        self._by_proxy = {
            proxy: httpcore.ConnectionPool(
                ssl_context=self._tls,
                proxy=_as_httpcore(proxy),
                max_connections=limits.max_connections,
                max_keepalive_connections=limits.max_keepalive_connections,
                keepalive_expiry=limits.keepalive_expiry,
                network_backend=anywhere,
            )
            for proxy in proxies.by_scheme.values()
        }

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Raises: SettingsError, HostUnreachable, AnswerInvalid; httpx's errors for what fails on the way."""
        origin = self._judge(request.url)
        proxy = self._proxies.proxy_for(request.url)
        with _httpx_errors(), stopped_by(request.extensions.get(STOP)):
            return self._send(request, origin) if proxy is None else self._send_by(proxy, request, origin)

    def _judge(self, url: httpx.URL) -> Origin:
        """What can be known of a URL without the network is the same each time."""
        origin = origin_of(url)
        if url.userinfo or origin not in self._judged:
            self._policy.normalize(str(url.copy_with(raw_path=b"/", fragment=None)))
            self._judged.add(origin)
        return origin

    def _send(self, request: httpx.Request, origin: Origin) -> httpx.Response:
        while True:
            connection = self._direct.take(origin, request.extensions.get("timeout", {}).get("connect"))
            try:
                head = connection.send(request)
                break
            except (httpcore.ReadError, httpcore.RemoteProtocolError):
                connection.close()
                if not connection.was_left or request.method not in _REPEATABLE:
                    raise
            except BaseException:
                connection.close()
                raise
        body = _Body(connection.body(request, head), partial(self._direct.give_back, origin, connection), request)
        version = {"http_version": b"HTTP/" + head.http_version, "reason_phrase": head.reason}
        return _answer(head.status_code, head.headers.raw_items(), body, version)

    def _connect(self, origin: Origin, timeout_s: float | None) -> BoundedStream:
        scheme, host, port = origin
        stream = self._backend.connect_tcp(host, port, timeout_s)
        return stream.start_tls(self._tls, host, timeout_s) if scheme == "https" else stream

    def _send_by(self, proxy: httpx.Proxy, request: httpx.Request, origin: Origin) -> httpx.Response:
        _, host, port = origin
        self._policy.endpoints(host, port)
        answer = self._by_proxy[proxy].handle_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return _answer(answer.status, answer.headers, _Body(_pieces(answer), answer.close, request), answer.extensions)

    def close(self) -> None:
        self._direct.close()
        for pool in self._by_proxy.values():
            pool.close()


class GuardedBackend(httpcore.NetworkBackend):
    """Connect to the addresses that the policy returns, in their order, and never to a name."""

    def __init__(self, policy: HostPolicy) -> None:
        self._policy = policy

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002  nobody asks for one
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> BoundedStream:
        """Raises: SettingsError, HostUnreachable (see `HostPolicy.endpoints`); httpcore's connection errors."""
        endpoints = self._policy.endpoints(host, port)[:MAX_ADDRESSES]
        deadline_s = time.monotonic() + (CONNECT_TIMEOUT_S if timeout is None else timeout)
        last: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for tried, endpoint in enumerate(endpoints):
            share_s = (deadline_s - time.monotonic()) / (len(endpoints) - tried)  # a dead one leaves time for the next
            if share_s <= 0:
                break
            try:
                return BoundedStream(_connect(endpoint, share_s), host)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        raise last or httpcore.ConnectTimeout("timed out")


class _Answer(httpx.Response):
    @property
    def has_redirect_location(self) -> bool:
        """Never, to httpx: it parses `Location` even where it does not follow, and some values make it raise errors
        that are not its own, or let a redirect look like a broken connection."""
        return False


class _Body(httpx.SyncByteStream):
    """The pieces of a body, and what is done once nobody wants more of them."""

    def __init__(self, pieces: Iterator[bytes], end: Callable[[], None], request: httpx.Request) -> None:
        self._pieces = pieces
        self._end = [end]
        self._stop = request.extensions.get(STOP)

    def __iter__(self) -> Iterator[bytes]:
        with _httpx_errors():
            while True:
                with stopped_by(self._stop):
                    piece = next(self._pieces, None)
                if piece is None:
                    return
                yield piece

    def close(self) -> None:
        while self._end:  # once: a connection that was given back is somebody else's
            self._end.pop()()


def _pieces(answer: httpcore.Response) -> Iterator[bytes]:
    """Each starts the count of what comes between pieces anew."""
    stream = answer.extensions.get("network_stream")
    pieces = iter(answer.iter_stream())
    while True:
        if isinstance(stream, BoundedStream):
            stream.restart()
        piece = next(pieces, None)
        if piece is None:
            return
        yield piece


def _answer(
    status: int, headers: Iterable[tuple[bytes, bytes]], body: _Body, extensions: Mapping[str, Any]
) -> httpx.Response:
    kept = [(name, value) for name, value in headers if name.lower() != b"set-cookie"]
    return _Answer(status, headers=kept, stream=body, extensions=dict(extensions))


def _connect(endpoint: Endpoint, timeout_s: float) -> socket.socket:
    with socket_errors(httpcore.ConnectTimeout, httpcore.ConnectError):
        sock = socket.socket(endpoint.family, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout_s)
            sock.connect(endpoint.address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            sock.close()
            raise
        return sock


def _as_httpcore(proxy: httpx.Proxy) -> httpcore.Proxy:
    return httpcore.Proxy(
        url=httpcore.URL(
            scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target=proxy.url.raw_path
        ),
        auth=proxy.raw_auth,
        headers=proxy.headers.raw,
    )


@contextmanager
def _httpx_errors() -> Iterator[None]:
    """httpcore's errors under the names that callers of httpx know; others, such as a refusal, as they are."""
    try:
        yield
    except tuple(_SAME_IN_HTTPX) as error:
        raise _SAME_IN_HTTPX[type(error)](str(error)) from error
