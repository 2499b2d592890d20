"""One host's XRPC endpoints over a shared httpx client: JSON both ways, and streams both ways.

The host on the other side is a stranger: the client connects through `transport`, which holds the host policy; XRPC
follows no redirect; every JSON answer is bounded, and bodies are read as sent, so that nothing is ever decompressed.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from eurosky_pipeline.xrpc.answers import error_for_answer, is_token_refused
from eurosky_pipeline.xrpc.bodies import bounded_body, chunks
from eurosky_pipeline.xrpc.errors import AnswerInvalid, error_for_transport
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.pacing import HostPace
from eurosky_pipeline.xrpc.proxies import environment_proxies
from eurosky_pipeline.xrpc.transport import CONNECT_TIMEOUT_S, GuardedTransport

SEND_CHUNK_BYTES = 256 * 1024
MAX_JSON_BYTES = 2 * 1024 * 1024
"""A page of 1000 missing blobs is about 200 KiB; what is parsed takes fifty times its size at the worst."""
JSON_TIMEOUT_S = 120.0
"""For the whole of a JSON answer, from its first byte; the client's own time-out is for silence."""
USER_AGENT = "eurosky-pipeline"
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)

Params = Mapping[str, str | int]
Json = dict[str, Any]


class Authorization(Protocol):
    """Where a client gets its access token from; `Session` is the real one."""

    def access_token(self) -> str:
        """The token to send now."""

    def renew(self, stale_token: str) -> None:
        """Replace `stale_token`; once, however many threads ask."""

    def is_doubtful(self, token: str) -> bool:
        """Whether the token itself may be why a host failed (500): some do so instead of refusing it."""

    def secrets(self) -> Iterable[str]:
        """What must not stand in an error, should the host repeat it."""


@dataclass(frozen=True, slots=True)
class Download:
    """An answer whose body is still on its way.

    `size_bytes` is what the host announced (None if it did not, or if it is the size of something that it says it has
    packed), `mime_type` its Content-Type (empty if it is none that could be sent on in a header).
    """

    size_bytes: int | None
    mime_type: str
    chunks: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Announced:
    """What a host says of a body that was not asked for; `size_bytes` as in `Download`."""

    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class UploadBody:
    """A file to send: opened anew for each attempt, so that a repeated request starts at its first byte."""

    path: Path
    size_bytes: int
    content_type: str
    on_bytes: Callable[[int], None] | None = None

    def chunks(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while chunk := file.read(SEND_CHUNK_BYTES):
                yield chunk
                if self.on_bytes is not None:
                    self.on_bytes(len(chunk))


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
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.Client(
        transport=GuardedTransport(policy, limits=limits, proxies=environment_proxies()),
        follow_redirects=False,
        timeout=httpx.Timeout(60, connect=CONNECT_TIMEOUT_S),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **(headers or {})},
    )


class XrpcClient:
    """Ask one host.

    Args:
        http: the shared client; threads may share it.
        base_url: `scheme://host[:port]`, already accepted by the host policy.
        authorization: a session, or None for public calls.
        pace: how fast the host may be asked, or None for as fast as one likes.
        stop: ends the waiting that `pace` asks for, with a StoppedError.
    """

    def __init__(
        self,
        http: httpx.Client,
        base_url: str,
        authorization: Authorization | None = None,
        *,
        pace: HostPace | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.base_url = base_url
        self.host = urlsplit(base_url).netloc
        self._http = http
        self._authorization = authorization
        self._pace = pace
        self._stop = stop or threading.Event()

    def __repr__(self) -> str:
        return f"XrpcClient({self.base_url!r}, {'with' if self._authorization else 'without'} a session)"

    def with_authorization(self, authorization: Authorization) -> XrpcClient:
        return XrpcClient(self._http, self.base_url, authorization, pace=self._pace, stop=self._stop)

    def with_pace(self, pace: HostPace, stop: threading.Event) -> XrpcClient:
        """A client that asks no faster than `pace` allows; its requests raise RateLimited, StoppedError as turns do."""
        return XrpcClient(self._http, self.base_url, self._authorization, pace=pace, stop=stop)

    def query(self, nsid: str, params: Params | None = None) -> Json:
        """GET a JSON answer. Raises the errors of `xrpc.errors`."""
        return self._json(nsid, lambda: self._request("GET", nsid, params=params))

    def procedure(self, nsid: str, body: Mapping[str, object] | None = None, *, bearer: str | None = None) -> Json:
        """POST JSON (or nothing), read JSON. Raises as `query`.

        Args:
            body: a SecretStr in it is sent as its text, and never repeated in an error, even if the host repeats it.
            bearer: stands in for the session's token.
        """
        plain = None if body is None else {key: _revealed(value) for key, value in body.items()}
        hidden = [value.get_secret_value() for value in (body or {}).values() if isinstance(value, SecretStr)]
        return self._json(nsid, lambda: self._request("POST", nsid, json=plain), bearer=bearer, hidden=hidden)

    def upload(self, nsid: str, body: UploadBody, *, timeout_s: float | None = None) -> Json:
        """POST a file with its Content-Length; `timeout_s` is how long the host may think about it."""

        def build() -> httpx.Request:
            headers = {"Content-Type": body.content_type, "Content-Length": str(body.size_bytes)}
            return self._request("POST", nsid, content=body.chunks(), headers=headers, timeout_s=timeout_s)

        return self._json(nsid, build)

    def head(self, nsid: str, params: Params, *, timeout_s: float | None = None) -> Announced:
        """What a GET would bring. Raises as `query`; but the answer to HEAD has no body, and so a refusal no reason."""
        with self._answer(nsid, lambda: self._request("HEAD", nsid, params=params, timeout_s=timeout_s)) as response:
            _answer_body(response, self.host, nsid)  # there is none; but only one that was read keeps its connection
            self._require_whole(response, nsid)
            return Announced(_announced_bytes(response))

    @contextmanager
    def download(self, nsid: str, params: Params) -> Iterator[Download]:
        """GET a body as a stream of chunks, raw as sent. Raises as `query`, also while the chunks are read."""
        with self._answer(nsid, lambda: self._request("GET", nsid, params=params)) as response:
            self._require_whole(response, nsid)
            mime_type = response.headers.get("content-type", "")
            yield Download(
                size_bytes=_announced_bytes(response),
                mime_type=mime_type if mime_type.isascii() and mime_type.isprintable() else "",
                chunks=chunks(response, self.host, nsid),
            )

    def _require_whole(self, response: httpx.Response, nsid: str) -> None:
        if response.status_code != 200:  # a success with no body, or with a part of it
            raise AnswerInvalid(f"{self.host} answered {response.status_code} to {nsid}, and that is no whole body")

    def _json(
        self, nsid: str, build: Callable[[], httpx.Request], *, bearer: str | None = None, hidden: Iterable[str] = ()
    ) -> Json:
        with self._answer(nsid, build, bearer=bearer, hidden=hidden) as response:
            raw = _answer_body(response, self.host, nsid)
            encoding = response.headers.get("content-encoding", "identity")
        if not raw:
            return {}
        value = _json_object(raw)
        if value is None:
            found = "something that is not a JSON object"
            if encoding.lower() != "identity":
                found += ", and says that it is compressed, which it was asked not to do"
            raise AnswerInvalid(
                f"{self.host} answered {nsid} with {found}", hint=f"is {self.host} really a Personal Data Server?"
            )
        return value

    @contextmanager
    def _answer(
        self, nsid: str, build: Callable[[], httpx.Request], *, bearer: str | None = None, hidden: Iterable[str] = ()
    ) -> Iterator[httpx.Response]:
        """Send, renew the session once if the host says that its token has expired, and yield a success."""
        for is_last_try in (False, True):
            response, token = self._sent(nsid, build, bearer)
            try:
                if response.is_success:
                    yield response
                    return
                body = _json_object(_answer_body(response, self.host, nsid)) or {}
            finally:
                response.close()
            if self._authorization and token and not bearer and not is_last_try:
                is_doubtful = response.status_code in (401, 500) and self._authorization.is_doubtful(token)
                if is_doubtful or is_token_refused(response.status_code, body, nsid):
                    self._authorization.renew(token)
                    continue
            known = self._authorization.secrets() if self._authorization else ()
            raise error_for_answer(
                response.status_code,
                body,
                host=self.host,
                nsid=nsid,
                headers=response.headers,
                hidden=[token or "", *known, *hidden],
            )

    def _sent(
        self, nsid: str, build: Callable[[], httpx.Request], bearer: str | None
    ) -> tuple[httpx.Response, str | None]:
        """Send when it is this request's turn; returns the answer, its body unread, and the token that was sent."""
        with self._pace.turn(nsid, self._stop) if self._pace else nullcontext() as turn:
            token = bearer or (self._authorization.access_token() if self._authorization else None)
            request = build()
            if token is not None:
                request.headers["Authorization"] = f"Bearer {token}"
            try:
                response = self._http.send(request, stream=True)
            except httpx.HTTPError as error:
                raise error_for_transport(error, host=self.host, nsid=nsid) from None
            if turn is not None:
                turn.heed(response.status_code, response.headers)
        return response, token

    def _request(self, method: str, nsid: str, *, timeout_s: float | None = None, **arguments: Any) -> httpx.Request:
        if timeout_s is not None:
            arguments["timeout"] = httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
        # bodies are read as they come over the wire, so that what is hashed and counted is what was sent
        headers = {"Accept-Encoding": "identity", **arguments.pop("headers", {})}
        return self._http.build_request(method, f"{self.base_url}/xrpc/{nsid}", headers=headers, **arguments)


def _announced_bytes(response: httpx.Response) -> int | None:
    announced = response.headers.get("content-length", "")
    is_as_it_is = response.headers.get("content-encoding", "").strip().lower() in {"", "identity"}
    return int(announced) if is_as_it_is and _LENGTH.fullmatch(announced) else None


def _answer_body(response: httpx.Response, host: str, nsid: str) -> bytes:
    deadline_s = time.monotonic() + JSON_TIMEOUT_S
    return bounded_body(response, host, nsid, max_bytes=MAX_JSON_BYTES, deadline_s=deadline_s)


def _revealed(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _json_object(raw: bytes) -> Json | None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
