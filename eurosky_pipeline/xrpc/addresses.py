"""Which IP addresses are public: anybody's packets reach them, and end where the address says.

What belongs here: addresses. What does not: names, ports and exceptions; those are `host_policy`'s.

The tables are our own rather than `ipaddress.is_global`, which has changed between patch releases of Python, calls the
6to4 prefix and cloud providers' host address global, and judges tunnels by their outside.

Spec: the IANA special-purpose address registries (RFC 6890), and the prefixes that carry an IPv4 address.
"""

from __future__ import annotations

import ipaddress

_NOT_PUBLIC_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host, this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT, and one cloud's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # one cloud's host and metadata, in the midst of the public space
        "169.254.0.0/16",  # link-local, most clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments, one cloud's metadata
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All that IANA gives out: loopback, link-local, unique local, multicast, local-use NAT64 are outside of it."""
_NOT_PUBLIC_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, given up (RFC 7526): it ends at any IPv4 address, or nowhere
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_CARRYING_V4 = (
    ipaddress.IPv6Network("::ffff:0:0/96"),  # IPv4-mapped
    ipaddress.IPv6Network("64:ff9b::/96"),  # NAT64 (RFC 6052): what an IPv6-only network reaches IPv4 hosts by
)


def is_public(text: str) -> bool:
    """Whether this address, as `getaddrinfo` writes it, is public; one with a zone (`%eth0`) is not.

    Raises:
        ValueError: it is no IP address.
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv4Address):
        return _is_public_v4(address)
    if address.scope_id is not None:
        return False
    if any(address in network for network in _CARRYING_V4):
        return _is_public_v4(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _GLOBAL_UNICAST and not any(address in network for network in _NOT_PUBLIC_V6)


def is_loopback(text: str) -> bool:
    """Whether this address is this machine itself. Raises ValueError as `is_public`."""
    return ipaddress.ip_address(text).is_loopback


def _is_public_v4(address: ipaddress.IPv4Address) -> bool:
    return not any(address in network for network in _NOT_PUBLIC_V4)
