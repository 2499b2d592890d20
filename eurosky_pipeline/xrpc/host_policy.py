"""Which hosts may be spoken to: public ones over https, and nothing inside the network this runs in.

The only ways round are the operator's `EUROSKY_ALLOW_PRIVATE_HOSTS` and the addresses of a running sandbox.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.xrpc.errors import HostUnreachable


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """What is allowed here.

    Args:
        is_private_allowed: accept plain http and private addresses everywhere.
        allowed_addresses: (host name, port) pairs that are accepted as they are: the sandbox's own servers.
    """

    is_private_allowed: bool = False
    allowed_addresses: frozenset[tuple[str, int]] = field(default_factory=frozenset)

    def normalize(self, url: str) -> str:
        """The base URL `scheme://host[:port]` of a server, without asking the network.

        Raises:
            SettingsError: not an http(s) URL, has credentials, a path or a query, or plain http to a host that
                is not excepted, or is a private address outright.
        """
        try:
            parts = urlsplit(url.strip())
            port = parts.port
        except ValueError as error:
            raise _refused(url, f"is not a URL ({error})") from None
        host = (parts.hostname or "").rstrip(".")
        if parts.scheme not in {"http", "https"} or not host:
            raise _refused(url, "is not an http(s) URL", hint="write it like https://pds.example.com")
        if parts.username is not None or parts.password is not None:
            # the URL itself is not repeated: it holds a password
            raise _refused(f"{parts.scheme}://…@{host}", "carries credentials", hint="leave them out of the URL")
        if parts.path not in {"", "/"} or parts.query or parts.fragment:
            raise _refused(url, "has a path or a query", hint=f"give only {parts.scheme}://{parts.netloc}")
        if not self._is_excepted(host, port or _default_port(parts.scheme)):
            if parts.scheme != "https":
                raise _refused(
                    url,
                    "is plain http",
                    hint="use https; for a test network, start the sandbox or set EUROSKY_ALLOW_PRIVATE_HOSTS",
                )
            _refuse_private_literal(url, host)
        shown_host = f"[{host}]" if ":" in host else host
        is_default = port is None or port == _default_port(parts.scheme)
        return f"{parts.scheme}://{shown_host}{'' if is_default else f':{port}'}"

    def check_reachable(self, url: str) -> str:
        """`normalize`, and refuse a name that resolves to a private address.

        Raises:
            SettingsError: as `normalize`, or the name points inside.
            HostUnreachable: the name does not resolve.
        """
        base_url = self.normalize(url)
        parts = urlsplit(base_url)
        host, port = parts.hostname or "", parts.port or _default_port(parts.scheme)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise HostUnreachable(
                f"the host name {host} does not resolve",
                code="host_unresolvable",
                hint="check the spelling of the host, and this machine's DNS",
            ) from None
        if not self._is_excepted(host, port):
            for *_, address in found:
                if not _is_public(str(address[0])):
                    raise _refused(url, f"resolves to {address[0]}, which is not a public address")
        return base_url

    def _is_excepted(self, host: str, port: int) -> bool:
        return self.is_private_allowed or (host, port) in self.allowed_addresses


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _refuse_private_literal(url: str, host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return
    if not _is_public(host):
        raise _refused(url, "is not a public address")


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.split("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        address = mapped
    return address.is_global and not address.is_multicast


def _refused(url: str, why: str, hint: str = "") -> SettingsError:
    return SettingsError(f"the host {url[:200]!r} {why}", code="host_refused", hint=hint)
