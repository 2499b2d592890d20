"""A handle's DID in the domain name system: the TXT record of `_atproto.<handle>`.

Spec: https://atproto.com/specs/handle#dns-txt-method
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eurosky_pipeline.atproto.syntax import is_account_did
from eurosky_pipeline.errors import TransientError

if TYPE_CHECKING:
    from dns.resolver import Resolver

DNS_TIMEOUT_S = 5.0
"""For the whole question: every name server, and TCP where UDP is too small."""

_MAX_NAME = 253
_PREFIX = b"did="


class DnsUnavailableError(TransientError):
    """The domain name system gave neither an answer nor a no."""

    default_code = "dns_unavailable"


def txt_dids(handle: str, resolver: Resolver | None = None) -> frozenset[str]:
    """The DIDs that a handle's TXT records name; more than one is for the caller to refuse.

    What does not begin with `did=`, or goes on with something that is no DID, is not for us. A handle that is too long
    for the prefix has no such record.

    Args:
        handle: checked, and not below a reserved domain.
        resolver: None for the one that this machine is set up with.

    Raises:
        DnsUnavailableError: no name server answered, or none without a fault of its own.
    """
    # 130 ms to import, and most commands ask for no handle
    import dns.exception
    import dns.rdatatype
    import dns.resolver

    name = f"_atproto.{handle}"
    if len(name) > _MAX_NAME:
        return frozenset()
    try:
        asked = resolver or dns.resolver.Resolver()
        # absolute, so that no search domain of this machine's can answer in the handle's place
        answer = asked.resolve(f"{name}.", dns.rdatatype.TXT, lifetime=DNS_TIMEOUT_S)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return frozenset()
    except (dns.exception.DNSException, OSError) as error:
        raise DnsUnavailableError(
            f"the TXT record of {name} could not be looked up ({type(error).__name__})",
            hint="check this machine's name servers, and those of the handle's domain",
        ) from None
    values = (b"".join(record.strings) for record in answer)
    texts = (value.removeprefix(_PREFIX).decode("ascii", "replace") for value in values if value.startswith(_PREFIX))
    return frozenset(text for text in texts if is_account_did(text))
