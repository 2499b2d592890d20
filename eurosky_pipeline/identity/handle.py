"""From a handle to the DID that it names, by its DNS record or its web server. The DID has not been asked yet.

Spec: https://atproto.com/specs/handle#handle-resolution
"""

from __future__ import annotations

from collections.abc import Iterable

from eurosky_pipeline.atproto.syntax import is_handle, normalize_handle
from eurosky_pipeline.errors import PermanentError, SettingsError
from eurosky_pipeline.identity.directory import Directory
from eurosky_pipeline.identity.dns_txt import DnsUnavailableError, txt_dids
from eurosky_pipeline.identity.reserved import TEST_DOMAIN, reserved_domain
from eurosky_pipeline.identity.well_known import well_known_did
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import resolve_handle as ask_server
from eurosky_pipeline.xrpc.errors import HostUnreachable, RequestRefused


class HandleInvalidError(PermanentError):
    """No handle, or one that can belong to nobody."""

    default_code = "handle_invalid"


class HandleNotFoundError(PermanentError):
    """The handle's domain names no DID."""

    default_code = "handle_not_found"


class HandleAmbiguousError(PermanentError):
    """The handle's domain names several DIDs, and so none."""

    default_code = "handle_ambiguous"

    def __init__(self, handle: str, dids: Iterable[str]) -> None:
        self.dids = frozenset(dids)
        named = ", ".join(sorted(self.dids)[:3])
        super().__init__(
            f"the TXT records of _atproto.{handle} name {len(self.dids)} DIDs, such as {named[:300]}",
            hint="its owner has to delete all but one; a change takes some time to be seen everywhere",
        )


def resolve_handle(directory: Directory, handle: str) -> str:
    """The DID that a handle names.

    DNS is asked first, and where it names a DID that holds: by the specification it comes before the web server. The
    web server is asked where DNS has no such record, or cannot be asked. On a test network (`test_pds_urls`) its
    servers know the handles below `.test`.

    Returns: a DID that may know nothing of the handle: `account.identify` asks it.

    Raises:
        HandleInvalidError: not a handle, or below a reserved domain (`handle_reserved`).
        HandleNotFoundError: nobody names a DID for it, or it leads to a host that may not be asked.
        HandleAmbiguousError: DNS names several.
        TransientError: who might know cannot be asked just now.
    """
    if not is_handle(handle):
        raise HandleInvalidError(f"{handle[:100]!r} is not a handle", hint="it looks like alice.bsky.social")
    name = normalize_handle(handle)
    reserved = reserved_domain(name)
    if reserved == TEST_DOMAIN and directory.test_pds_urls:
        return _ask_test_servers(directory, name)
    if reserved:
        raise HandleInvalidError(
            f"{name} is below the reserved domain .{reserved}, where no handle can be",
            code="handle_reserved",
            hint=f"handles below .{TEST_DOMAIN} are known to a running sandbox only: `--sandbox` asks it"
            if reserved == TEST_DOMAIN
            else "",
        )
    fault: DnsUnavailableError | None = None
    dids: frozenset[str] = frozenset()
    try:
        dids = txt_dids(name, directory.dns)
    except DnsUnavailableError as error:
        fault = error
    if len(dids) > 1:
        raise HandleAmbiguousError(name, dids)
    did = next(iter(dids)) if dids else _ask_web_server(directory, name)
    if did is not None:
        return did
    if fault is not None:
        raise fault
    raise HandleNotFoundError(
        f"{name} names no DID: neither the TXT record of _atproto.{name} nor https://{name}/.well-known/atproto-did",
        hint="check the spelling; its owner may have changed the handle",
    )


def _ask_web_server(directory: Directory, name: str) -> str | None:
    try:
        return well_known_did(directory, name)
    except SettingsError as error:
        raise HandleNotFoundError(f"{name} cannot be asked for its DID: {error.message}", hint=error.hint) from None
    except HostUnreachable as error:
        if error.code == "host_unresolvable":  # many handles are a TXT record and nothing else
            return None
        raise


def _ask_test_servers(directory: Directory, name: str) -> str:
    for url in directory.test_pds_urls:
        client = XrpcClient(directory.http, directory.policy.check_reachable(url))
        try:
            return ask_server(client, name)
        except RequestRefused:  # it has no such account
            continue
    raise HandleNotFoundError(f"no server of the test network knows {name}", hint="check the spelling")
