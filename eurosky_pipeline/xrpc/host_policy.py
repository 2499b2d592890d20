"""Which hosts may be spoken to: public ones over https, and nothing inside the network this runs in.

The only ways round are the operator's `EUROSKY_ALLOW_PRIVATE_HOSTS` and the addresses of a running sandbox. A URL is
read here once, strictly; the address is judged again by `transport`, which connects to what `HostPolicy.endpoints`
returns and to nothing else, so that a name cannot answer differently the second time.

Ports: 443 and from 1024 up. Below 1024 live the services that a stranger would like us to knock at (SSH, SMTP, LDAP …),
and no PDS is found at any but 443; above, the few ports are left out whose services read plain lines, or at which
nobody serves the web.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import urlsplit

import httpx

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.xrpc.addresses import is_loopback, is_public
from eurosky_pipeline.xrpc.resolver import Endpoint, resolve

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_MAX_NAME_CHARS = 253
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_URL_HINT = "write it like https://pds.example.com"
_PRIVATE_HINT = "for a test network, start the sandbox or set EUROSKY_ALLOW_PRIVATE_HOSTS"
_OWN_ADDRESS = "127.0.0.1"
_FIRST_FREE_PORT = 1024
_SERVICE_PORTS = frozenset(
    # databases, caches and queues; NFS, X11, SIP; IRC
    {1433, 1521, 2049, 2181, 2379, 3306, 3389, 4369, 5432, 5672, 5900, 6379, 9042, 9092, 9200, 9300, 11211, 27017}
    | {1719, 1720, 1723, 3659, 4045, 5060, 5061, 6000}
    | {6566, *range(6665, 6670), 6679, 6697, 10080}
)


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """What is allowed here.

    Args:
        is_private_allowed: accept plain http, every port and private addresses everywhere.
        allowed_addresses: (host name, port) pairs on this machine that are accepted too, the sandbox's own servers;
            over plain http, and at loopback addresses only.
    """

    is_private_allowed: bool = False
    allowed_addresses: frozenset[tuple[str, int]] = field(default_factory=frozenset)

    def normalize(self, url: str) -> str:
        """The base URL `scheme://host[:port]` of a server, without asking the network.

        Raises:
            SettingsError: not an http(s) URL, has credentials, a path or a query, or a name that no host has; or,
                for a host that is not excepted, plain http, a service's port, or a private address outright.
                Credentials are never repeated.
        """
        try:
            parts = urlsplit(url.strip())
            port = parts.port
            is_url = url.strip().isprintable()  # urlsplit would quietly leave out tabs and line ends
        except ValueError:  # its text is not repeated: it may quote a piece of a password
            is_url = False
        if not is_url:
            raise _refused(url, "is not a URL", hint=_URL_HINT)
        host = (parts.hostname or "").removesuffix(".")
        if parts.scheme not in {"http", "https"} or not host:
            raise _refused(url, "is not an http(s) URL", hint=_URL_HINT)
        if parts.username is not None or parts.password is not None:
            raise _refused(url, "carries credentials", hint="leave them out of the URL")
        if not parts.netloc.isascii() or not _is_host(host):  # some other letters are ASCII once in lower case
            # other spellings might be read as one name when checked here, and as another when connected to
            raise _refused(url, "has a name that is no host's", hint="write an international name in its xn--… form")
        if parts.path not in {"", "/"} or parts.query or parts.fragment:
            raise _refused(url, "has a path or a query", hint=f"give only {parts.scheme}://{parts.netloc}")
        default_port = 443 if parts.scheme == "https" else 80
        port = default_port if port is None else port
        if not self._is_excepted(host, port):
            if parts.scheme != "https":
                raise _refused(url, "is plain http", hint=f"use https; {_PRIVATE_HINT}")
            if not _is_web_port(port):
                raise _refused(url, f"has port {port}, where no PDS is", hint="leave the port out; https is at 443")
            if _is_address(host) and not is_public(host):
                raise _refused(url, "is not a public address", hint=_PRIVATE_HINT)
        if port == 0:
            raise _refused(url, "has port 0", hint=_URL_HINT)
        shown_host = f"[{host}]" if ":" in host else host
        return f"{parts.scheme}://{shown_host}{'' if port == default_port else f':{port}'}"

    def check_reachable(self, url: str) -> str:
        """`normalize`, and refuse a name that resolves to a private address.

        This tells of a bad host early and in one place; what holds is the same check on each connection.

        Raises:
            SettingsError: as `normalize`, or the name points inside.
            HostUnreachable: the name does not resolve.
        """
        base_url = self.normalize(url)
        parts = urlsplit(base_url)
        self.endpoints(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        return base_url

    def endpoints(self, host: str, port: int) -> tuple[Endpoint, ...]:
        """The addresses of `host` that may be connected to: resolved once, and all of them or none.

        One bad address among good ones is refused too: no honest public host has one, and which of them is connected
        to would be left to chance.

        Raises:
            SettingsError: an address is not public (or, for one of `allowed_addresses`, not on this machine).
            HostUnreachable: the name does not resolve.
        """
        found = resolve(host, port)
        if self.is_private_allowed:
            return found
        is_own = (host, port) in self.allowed_addresses
        for endpoint in found:
            if is_own and not is_loopback(endpoint.ip):
                raise _refused(host, f"resolves to {endpoint.ip}, which is not this machine", hint=_PRIVATE_HINT)
            if not is_own and not is_public(endpoint.ip):
                raise _refused(host, f"resolves to {endpoint.ip}, which is not a public address", hint=_PRIVATE_HINT)
        # our own listen at one address; at the same port of another, anybody's program may
        return tuple(endpoint for endpoint in found if not is_own or endpoint.ip == _OWN_ADDRESS) or _nobody(host)

    def _is_excepted(self, host: str, port: int) -> bool:
        return self.is_private_allowed or (host, port) in self.allowed_addresses


def _nobody(host: str) -> NoReturn:
    raise _refused(host, f"does not resolve to {_OWN_ADDRESS}", hint="correct this machine's hosts file")


def _is_web_port(port: int) -> bool:
    return port == 443 or (port >= _FIRST_FREE_PORT and port not in _SERVICE_PORTS)


def _is_host(host: str) -> bool:
    """A name in lower-case ASCII, or an address in its one usual form.

    A last label that is a number makes the whole an IPv4 address to some (the C library reads 2130706433, 127.1 and
    0x7f.1 as loopback) and a name to others; no top-level domain is one.
    """
    if ":" in host:
        return _is_address(host)
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _is_address(host)
    if len(host) > _MAX_NAME_CHARS or not all(map(_LABEL.fullmatch, labels)):
        return False
    try:
        return bool(httpx.URL(f"https://{host}").host)  # the HTTP library decodes xn-- labels, and chokes on bad ones
    except (httpx.InvalidURL, UnicodeError):
        return False


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _refused(url: str, why: str, hint: str = "") -> SettingsError:
    _, at, host = url.strip().rpartition("@")  # what stands before an @ may be a password, wherever the @ is
    shown = re.split(r"[?#]", f"…@{host}" if at else host)[0]  # nor what stands behind a ?
    return SettingsError(f"the host {shown[:200]!r} {why}", code="host_refused", hint=hint)
