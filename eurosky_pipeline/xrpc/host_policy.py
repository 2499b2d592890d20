"""Which hosts may be spoken to: public ones over https, and nothing inside the network this runs in.

The only ways round are the operator's `EUROSKY_ALLOW_PRIVATE_HOSTS` and the addresses of a running sandbox.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.xrpc.errors import HostUnreachable

_HOST_NAME = re.compile(r"[a-z0-9._-]+", re.ASCII)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_PRIVATE_HINT = "for a test network, start the sandbox or set EUROSKY_ALLOW_PRIVATE_HOSTS"
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


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
                is not excepted, or is a private address outright. Credentials are never repeated.
        """
        try:
            parts = urlsplit(url.strip())
            port = parts.port
        except ValueError:  # its text is not repeated: it may quote a piece of a password
            raise _refused(url, "is not a URL", hint="write it like https://pds.example.com") from None
        host = (parts.hostname or "").rstrip(".")
        if parts.scheme not in {"http", "https"} or not host:
            raise _refused(url, "is not an http(s) URL", hint="write it like https://pds.example.com")
        if parts.username is not None or parts.password is not None:
            raise _refused(url, "carries credentials", hint="leave them out of the URL")
        if not _is_host(host):
            # other spellings might be read as one name when checked here, and as another when connected to
            raise _refused(url, "has a name that is no host's", hint="write an international name in its xn--… form")
        if parts.path not in {"", "/"} or parts.query or parts.fragment:
            raise _refused(url, "has a path or a query", hint=f"give only {parts.scheme}://{parts.netloc}")
        if not self._is_excepted(host, port or _default_port(parts.scheme)):
            if parts.scheme != "https":
                raise _refused(
                    url,
                    "is plain http",
                    hint=f"use https; {_PRIVATE_HINT}",
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
                    raise _refused(url, f"resolves to {address[0]}, which is not a public address", hint=_PRIVATE_HINT)
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
        raise _refused(url, "is not a public address", hint=_PRIVATE_HINT)


def _is_host(host: str) -> bool:
    if ":" not in host:
        return _HOST_NAME.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.split("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        carried = _carried_ipv4(address)
        if carried is None:
            return address in _GLOBAL_UNICAST and address.is_global
        address = carried
    return address.is_global and not address.is_multicast


def _carried_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to this one end at: IPv4-mapped and -compatible, NAT64 (RFC 6052), 6to4."""
    if address in _NAT64 or int(address) < 2**32:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _refused(url: str, why: str, hint: str = "") -> SettingsError:
    _, at, host = url.strip().rpartition("@")  # what stands before an @ may be a password, wherever the @ is
    shown = f"…@{host}" if at else host
    return SettingsError(f"the host {shown[:200]!r} {why}", code="host_refused", hint=hint)
