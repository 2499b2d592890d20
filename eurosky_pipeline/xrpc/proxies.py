"""The operator's HTTP proxies, as the environment names them: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY.

A proxy is the operator's own choice, so its address may be private, and it is not asked for this machine itself.
Whoever sets one also moves the guard: it is the proxy that resolves the name again and connects, and only its own rules
can hold there. `transport` still refuses, before each request, what resolves to a private address from here.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from eurosky_pipeline.errors import SettingsError

_NEVER_PROXIED = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Proxies:
    """Which requests go through which proxy.

    Args:
        by_scheme: `http`, `https` or `all` to a proxy.
        direct: NO_PROXY's list: names with everything under them, `name:port`, or `*`; comma-separated.
    """

    by_scheme: Mapping[str, httpx.Proxy] = field(default_factory=dict)
    direct: str = ""

    def proxy_for(self, url: httpx.URL) -> httpx.Proxy | None:
        """The proxy for this request; None if it goes straight to its host."""
        if not self.by_scheme or url.host in _NEVER_PROXIED or self._is_direct(url):
            return None
        return self.by_scheme.get(url.scheme) or self.by_scheme.get("all")

    def _is_direct(self, url: httpx.URL) -> bool:
        names = [entry.strip().lower().lstrip(".") for entry in self.direct.split(",")]
        spellings = {url.host, url.netloc.decode("ascii")}
        return any(name in {"*", *spellings} or url.host.endswith(f".{name}") for name in names if name)


def environment_proxies() -> Proxies:
    """Read the environment.

    Raises:
        SettingsError: a proxy of a kind that is not supported, or whose URL is none; its URL, which may hold a
            password, is not repeated.
    """
    found = urllib.request.getproxies()
    if found.get("no", "").strip() == "*":
        return Proxies()
    schemes = [scheme for scheme in ("http", "https", "all") if found.get(scheme)]
    return Proxies({scheme: _proxy(scheme, found[scheme]) for scheme in schemes}, found.get("no", ""))


def _proxy(scheme: str, text: str) -> httpx.Proxy:
    url = text if "://" in text else f"http://{text}"
    name = f"{scheme.upper()}_PROXY"
    try:
        if urlsplit(url).scheme == "http" and (proxy := httpx.Proxy(url)).url.host:
            return proxy
    except (ValueError, httpx.InvalidURL):
        pass
    raise SettingsError(
        f"{name} names no proxy that is supported",
        code="proxy_unsupported",
        hint=f"write it like {name}=http://proxy.example:3128, or unset it",
    )
