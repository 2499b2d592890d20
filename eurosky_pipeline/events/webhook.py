"""The sink `webhook`: each event is posted, signed, to the address that `EUROSKY_WEBHOOK_URL` names.

    POST …                      {"type": "migration.state_changed", "timestamp": "…", "data": {the event}}
    webhook-id                  the same however often the event is sent: who has seen it has had it
    webhook-timestamp           Unix seconds of this try
    webhook-signature           v1,base64(HMAC-SHA256(key, "id.timestamp.body")); one for each key, separated by spaces

The address is the operator's own word, and may be a private one; it has to be https all the same, unless it is this
machine. No redirect is followed. Address and key stand in no error and no log: only the host's name does.

Spec: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import urlsplit

from eurosky_pipeline.errors import PermanentError, SettingsError, TransientError
from eurosky_pipeline.plugins.event_sinks import Event, EventSink
from eurosky_pipeline.plugins.hooks import hookimpl

if TYPE_CHECKING:
    import httpx

    from eurosky_pipeline.settings import Settings

REQUEST_TIMEOUT_S: Final = 10.0
"""For connecting, and for each silence; who gives events to sinks bounds the whole."""
MAX_ANSWER_BYTES: Final = 1024
"""Nothing in it is of use; it is read so that the connection can be used again."""
SECRET_PREFIX: Final = "whsec_"  # noqa: S105
_LEAST_KEY_BYTES: Final = 24
_MOST_KEY_BYTES: Final = 64
_OF_THE_ADDRESS: Final = frozenset({401, 403, 404, 405, 407, 408, 410, 421, 425, 426, 429})
"""Refusals that say nothing of this event: the address or the key is wrong, or the time. They are tried again, so that
a slip in the settings loses nothing."""
_DECADES: Final = re.compile(r"[0-9]{10,}(\.[0-9]*)?|[0-9]+(\.[0-9]*)?e\+?[0-9]+", re.ASCII | re.IGNORECASE)
"""Other parts of the program take such a number for a moment in Unix seconds, as some hosts do."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where to, and the keys to sign with, the newest first."""

    url: str = field(repr=False)
    host: str
    keys: tuple[bytes, ...] = field(repr=False)


class Webhook(EventSink):
    """Posts to the address of the settings; without one it is not configured, and misses nothing."""

    name: ClassVar[str] = "webhook"
    version: ClassVar[str] = "1"

    def __init__(self) -> None:
        self._destination: Destination | None = None
        self._transport: httpx.HTTPTransport | None = None

    def is_configured(self) -> bool:
        """Raises: SettingsError for an address or a key that cannot be used."""
        from eurosky_pipeline.settings import load_settings

        self._destination = read_destination(load_settings())
        return self._destination is not None

    def deliver(self, event: Event) -> None:
        """Raises:
        TransientError: the receiver cannot be reached, fails, or asks for patience; or the address or key is wrong.
        PermanentError: it refuses this event.
        SettingsError: as `is_configured`.
        """
        if self._destination is None and not self.is_configured():
            raise TransientError("EUROSKY_WEBHOOK_URL is not set", code="webhook_unavailable")
        if self._destination is not None:
            self._post(self._destination, event)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _post(self, to: Destination, event: Event) -> None:
        import httpx

        # not httpx's client: it writes the address, which may hold a key, into its log
        transport = self._transport = self._transport or _new_transport(to)
        timeout = httpx.Timeout(REQUEST_TIMEOUT_S).as_dict()
        body = body_of(event)
        headers = {"content-type": "application/json", "user-agent": "eurosky-pipeline", "accept-encoding": "identity"}
        headers |= signed_headers(to.keys, event_id(event), int(time.time()), body)
        request = httpx.Request("POST", to.url, headers=headers, content=body, extensions={"timeout": timeout})
        try:
            response = transport.handle_request(request)
            try:
                _read_a_little(response)
            finally:
                response.close()
        except httpx.TransportError as error:
            raise TransientError(
                f"the webhook on {to.host} cannot be reached: {type(error).__name__}", code="webhook_unavailable"
            ) from None
        _judge(to.host, response.status_code, response.headers)


@hookimpl
def eurosky_event_sinks() -> list[type[EventSink]]:
    return [Webhook]


def read_destination(settings: Settings) -> Destination | None:
    """Where the settings send events to; None if nowhere.

    Raises: SettingsError, which repeats nothing of either, for an address or a key that cannot be used.
    """
    if settings.webhook_url is None:
        return None
    url = settings.webhook_url.get_secret_value()
    host = _host_of(url, is_plain_allowed=settings.is_private_hosts_allowed)
    if settings.webhook_secret is None:
        raise SettingsError(
            "EUROSKY_WEBHOOK_URL is set, and EUROSKY_WEBHOOK_SECRET is not: nothing is sent unsigned",
            code="webhook_secret",
            hint='`echo "whsec_$(openssl rand -base64 32)"` makes one; give it to the receiver too',
        )
    return Destination(url, host, tuple(map(_key, settings.webhook_secret.get_secret_value().split(","))))


def body_of(event: Event) -> bytes:
    """What is sent, and signed, byte for byte."""
    told = event.to_json()
    value = {"type": f"migration.{event.kind}", "timestamp": told["happened_at"], "data": told}
    return json.dumps(value, separators=(",", ":")).encode()


def event_id(event: Event) -> str:
    """The same for every try, and of no other event of any installation."""
    return f"{event.token}-{event.id}"


def signed_headers(keys: Sequence[bytes], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The three headers of a message, signed with each of the keys."""
    content = f"{message_id}.{timestamp_s}.".encode() + body
    signatures = (base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _host_of(url: str, *, is_plain_allowed: bool) -> str:
    from eurosky_pipeline.xrpc.addresses import is_loopback

    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host or parts.scheme not in {"http", "https"} or not url.isascii() or not url.isprintable() or " " in url:
        raise SettingsError(
            "EUROSKY_WEBHOOK_URL is no URL", code="webhook_url", hint="like https://hooks.example.com/eurosky"
        )
    if "@" in parts.netloc:  # it would be sent with every event, and stand in every proxy's log
        raise SettingsError(
            "EUROSKY_WEBHOOK_URL holds a user name or a password",
            code="webhook_url",
            hint="take them out: the signature is what proves who sends",
        )
    try:
        is_own = host == "localhost" or is_loopback(host)
    except ValueError:
        is_own = False
    if parts.scheme == "http" and not is_own and not is_plain_allowed:
        raise SettingsError(
            f"EUROSKY_WEBHOOK_URL is plain http to {host}: whoever is between reads whose accounts move",
            code="webhook_url",
            hint="give an https URL; on a test network set EUROSKY_ALLOW_PRIVATE_HOSTS",
        )
    return host if port is None else f"{host}:{port}"


def _key(text: str) -> bytes:
    try:
        key = base64.b64decode(text.strip().removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.strip().startswith(SECRET_PREFIX) or not _LEAST_KEY_BYTES <= len(key) <= _MOST_KEY_BYTES:
        raise SettingsError(
            f"EUROSKY_WEBHOOK_SECRET is not {SECRET_PREFIX} and {_LEAST_KEY_BYTES} to {_MOST_KEY_BYTES} bytes in "
            "base64, nor several such with commas between, the newest first",
            code="webhook_secret",
            hint='`echo "whsec_$(openssl rand -base64 32)"` makes one; give it to the receiver too',
        )
    return key


def _new_transport(to: Destination) -> httpx.HTTPTransport:
    """With the proxy that the environment names for this host, if it names one."""
    from urllib.request import getproxies, proxy_bypass

    import httpx

    proxies = {} if proxy_bypass(to.host) else getproxies()
    proxy = proxies.get(urlsplit(to.url).scheme) or proxies.get("all")
    try:
        return httpx.HTTPTransport(proxy=httpx.Proxy(proxy) if proxy else None)
    except (ValueError, ImportError):
        raise TransientError(
            f"the proxy that the environment names for {to.host} cannot be used",
            code="webhook_unavailable",
            hint="name an http proxy, or none, or let no_proxy name the host",
        ) from None


def _read_a_little(response: httpx.Response) -> None:
    size_bytes = 0
    for piece in response.stream:  # type: ignore[union-attr]  # this transport's streams are synchronous
        size_bytes += len(piece)
        if size_bytes > MAX_ANSWER_BYTES:
            return


def _judge(host: str, status: int, headers: Mapping[str, str]) -> None:
    """2xx is delivered. What fails for a reason that is not the event's may pass; the rest is refused for good."""
    if 200 <= status < 300:
        return
    text = f"the webhook on {host} answers {status}"
    if 400 <= status < 500 and status not in _OF_THE_ADDRESS:
        raise PermanentError(text, code="webhook_refused")
    raise TransientError(text, code="webhook_unavailable", retry_after_s=_asked_s(headers))


def _asked_s(headers: Mapping[str, str]) -> float | None:
    """How long to wait. A number of decades is meant, too: whoever waits has a longest wait."""
    from eurosky_pipeline.xrpc.rate_limit import MAX_RETRY_AFTER_S, retry_after_s

    asked = headers.get("retry-after", "").strip()
    return MAX_RETRY_AFTER_S if _DECADES.fullmatch(asked) else retry_after_s(headers)
