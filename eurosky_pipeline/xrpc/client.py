"""One host's XRPC endpoints over a shared httpx client: JSON both ways, and streams both ways.

The host on the other side is a stranger: the client connects through `transport`, which holds the host policy; XRPC
follows no redirect; every JSON answer is bounded, and bodies are read as sent, so that nothing is ever decompressed.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from eurosky_pipeline.xrpc.answers import error_for_answer, is_account_asked_for, is_rate_limit, is_token_refused
from eurosky_pipeline.xrpc.authorization import Authorization
from eurosky_pipeline.xrpc.bandwidth import Bandwidth
from eurosky_pipeline.xrpc.bodies import (
    SEND_CHUNK_BYTES,
    Announced,
    Download,
    UploadBody,
    announced_bytes,
    answer_timeout_s,
    bounded_body,
    is_as_it_is,
    received,
    sent,
)
from eurosky_pipeline.xrpc.connection import STOP
from eurosky_pipeline.xrpc.errors import AnswerInvalid, error_for_transport
from eurosky_pipeline.xrpc.pacing import HostPace, OnWait
from eurosky_pipeline.xrpc.transport import new_http_client

__all__ = ["SEND_CHUNK_BYTES", "Announced", "Download", "Json", "Params", "UploadBody", "XrpcClient", "new_http_client"]

BYPASS_HEADER = "x-ratelimit-bypass"
MAX_JSON_BYTES = 2 * 1024 * 1024
"""A page of 1000 missing blobs is about 200 KiB; what is parsed takes fifty times its size at the worst."""
JSON_TIMEOUT_S = 120.0
"""For the whole of a JSON answer, from its first byte; the client's own time-out is for silence."""
TOO_MANY = 429

Params = Mapping[str, str | int]
Json = dict[str, Any]


class XrpcClient:
    """Ask one host.

    Args:
        http: the shared client; threads may share it.
        base_url: `scheme://host[:port]`, already accepted by the host policy.
        authorization: a session, or None for public calls.
        pace: how fast the host may be asked, or None for as fast as one likes.
        stop: ends the waiting that `pace` and `bandwidth` ask for, and what is under way, with a StoppedError.
        bandwidth: how fast the bytes of downloads and uploads may go, or None; JSON does not count.
        bypass: the host's own key against its rate limits, or None. It is sent to this host only.
        on_wait: told of each wait that `pace` asks for; threads call it.
    """

    def __init__(
        self,
        http: httpx.Client,
        base_url: str,
        authorization: Authorization | None = None,
        *,
        pace: HostPace | None = None,
        stop: threading.Event | None = None,
        bandwidth: Bandwidth | None = None,
        bypass: SecretStr | None = None,
        on_wait: OnWait = lambda _: None,
    ) -> None:
        self.base_url = base_url
        self.host = urlsplit(base_url).netloc
        self.pace = pace
        self._http = http
        self._authorization = authorization
        self._stop = stop or threading.Event()
        self._bandwidth = bandwidth
        self._bypass = bypass
        self._on_wait = on_wait

    def __repr__(self) -> str:
        return f"XrpcClient({self.base_url!r}, {'with' if self._authorization else 'without'} a session)"

    def with_authorization(self, authorization: Authorization) -> XrpcClient:
        return self._like(authorization=authorization)

    def with_pace(self, pace: HostPace, stop: threading.Event) -> XrpcClient:
        """A client that asks no faster than `pace` allows; its requests raise RateLimited, StoppedError as turns do."""
        return self._like(pace=pace, stop=stop)

    def with_stop(self, stop: threading.Event) -> XrpcClient:
        """A client that ends what it does, with a StoppedError, when `stop` is set."""
        return self._like(stop=stop)

    def with_on_wait(self, on_wait: OnWait) -> XrpcClient:
        """A client that tells of the waits that its pace asks for."""
        return self._like(on_wait=on_wait)

    def _like(self, **changes: Any) -> XrpcClient:
        own: dict[str, Any] = {
            "authorization": self._authorization,
            "pace": self.pace,
            "stop": self._stop,
            "bandwidth": self._bandwidth,
            "bypass": self._bypass,
            "on_wait": self._on_wait,
        }
        return XrpcClient(self._http, self.base_url, **(own | changes))

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
        """POST a file with its Content-Length.

        Args:
            timeout_s: how long the host may think about it; None: the longer the larger it is.
        """
        silence_s = self._http.timeout.read
        if timeout_s is None and silence_s is not None:
            timeout_s = answer_timeout_s(body.size_bytes, silence_s)

        def build() -> httpx.Request:
            headers = {"Content-Type": body.content_type, "Content-Length": str(body.size_bytes)}
            content = sent(body, self.host, nsid, bandwidth=self._bandwidth, stop=self._stop)
            return self._request("POST", nsid, content=content, headers=headers, timeout_s=timeout_s)

        return self._json(nsid, build)

    def head(self, nsid: str, params: Params, *, timeout_s: float | None = None) -> Announced:
        """What a GET would bring. Raises as `query`; but the answer to HEAD has no body, and so a refusal no reason."""
        with self._answer(nsid, lambda: self._request("HEAD", nsid, params=params, timeout_s=timeout_s)) as response:
            self._body(response, nsid)  # there is none; but only one that was read keeps its connection
            self._require_whole(response, nsid)
            return Announced(announced_bytes(response))

    @contextmanager
    def download(self, nsid: str, params: Params) -> Iterator[Download]:
        """GET a body as a stream of chunks, raw as sent. Raises as `query`, also while the chunks are read."""
        with self._answer(nsid, lambda: self._request("GET", nsid, params=params)) as response:
            self._require_whole(response, nsid)
            mime_type = response.headers.get("content-type", "")
            yield Download(
                size_bytes=announced_bytes(response),
                mime_type=mime_type if mime_type.isascii() and mime_type.isprintable() else "",
                chunks=received(response, self.host, nsid, bandwidth=self._bandwidth, stop=self._stop),
                is_packed=not is_as_it_is(response),
            )

    def _require_whole(self, response: httpx.Response, nsid: str) -> None:
        if response.status_code != 200:  # a success with no body, or with a part of it
            raise AnswerInvalid(f"{self.host} answered {response.status_code} to {nsid}, and that is no whole body")

    def _json(
        self, nsid: str, build: Callable[[], httpx.Request], *, bearer: str | None = None, hidden: Iterable[str] = ()
    ) -> Json:
        with self._answer(nsid, build, bearer=bearer, hidden=hidden) as response:
            raw = self._body(response, nsid)
        if not raw:
            return {}
        value = _json_object(raw)
        if value is None:
            found = "something that is not a JSON object"
            if not is_as_it_is(response):
                found += ", and says that it is compressed, which it was asked not to do"
            raise AnswerInvalid(
                f"{self.host} answered {nsid} with {found}", hint=f"is {self.host} really a Personal Data Server?"
            )
        return value

    @contextmanager
    def _answer(
        self, nsid: str, build: Callable[[], httpx.Request], *, bearer: str | None = None, hidden: Iterable[str] = ()
    ) -> Iterator[httpx.Response]:
        """Send, open and renew the session once each if the host asks for it, and yield a success."""
        tried: set[bool] = set()
        while True:
            response, body, token = self._sent(nsid, build, bearer)
            if body is None:
                try:
                    yield response
                finally:
                    response.close()
                return
            has_token, authorization = token is not None, self._authorization
            if authorization and not bearer and has_token not in tried:
                tried.add(has_token)
                if self._is_for_session(authorization, token, response.status_code, body, nsid):
                    authorization.renew(token, self._stop)
                    continue
            known = authorization.secrets() if authorization else ()
            key = self._bypass.get_secret_value() if self._bypass else ""
            raise error_for_answer(
                response.status_code,
                body,
                host=self.host,
                nsid=nsid,
                headers=response.headers,
                hidden=[token or "", key, *known, *hidden],
            )

    @staticmethod
    def _is_for_session(authorization: Authorization, token: str | None, status: int, body: Json, nsid: str) -> bool:
        """Whether the request may succeed with a session, or with a newer token."""
        if token is None:
            return is_account_asked_for(status, body, nsid)
        is_doubtful = status in (401, 500) and authorization.is_doubtful(token)
        return is_doubtful or is_token_refused(status, body, nsid)

    def _sent(
        self, nsid: str, build: Callable[[], httpx.Request], bearer: str | None
    ) -> tuple[httpx.Response, Json | None, str | None]:
        """Send when it is this request's turn. Returns the answer; if it is no success, closed and with what it says,
        else None and its body still unread; and the token that was sent."""
        with self.pace.turn(nsid, self._stop, self._on_wait) if self.pace else nullcontext() as turn:
            token = bearer or (self._authorization.access_token() if self._authorization else None)
            request = build()
            if token is not None:
                request.headers["Authorization"] = f"Bearer {token}"
            if self._bypass is not None:
                request.headers[BYPASS_HEADER] = self._bypass.get_secret_value()
            try:
                response = self._http.send(request, stream=True)
            except httpx.HTTPError as error:
                raise error_for_transport(error, host=self.host, nsid=nsid) from None
            status, said = response.status_code, None
            try:
                if turn is not None and (response.is_success or status == TOO_MANY):
                    turn.heed(status, response.headers)
                if not response.is_success:
                    said = _json_object(self._body(response, nsid)) or {}
                    if turn is not None and status != TOO_MANY:  # some say so in words
                        turn.heed(TOO_MANY if is_rate_limit(status, said, nsid) else status, response.headers)
            except BaseException:
                response.close()
                raise
            if said is not None:
                response.close()
        return response, said, token

    def _body(self, response: httpx.Response, nsid: str) -> bytes:
        deadline_s = time.monotonic() + JSON_TIMEOUT_S
        return bounded_body(response, self.host, nsid, max_bytes=MAX_JSON_BYTES, deadline_s=deadline_s, stop=self._stop)

    def _request(self, method: str, nsid: str, *, timeout_s: float | None = None, **arguments: Any) -> httpx.Request:
        if timeout_s is not None:
            arguments["timeout"] = httpx.Timeout(**(self._http.timeout.as_dict() | {"read": timeout_s}))
        # bodies are read as they come over the wire, so that what is hashed and counted is what was sent
        headers = {"Accept-Encoding": "identity", **arguments.pop("headers", {})}
        url, extensions = f"{self.base_url}/xrpc/{nsid}", {STOP: self._stop}
        return self._http.build_request(method, url, headers=headers, extensions=extensions, **arguments)


def _revealed(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _json_object(raw: bytes) -> Json | None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
