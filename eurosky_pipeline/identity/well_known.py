"""A handle's DID at the handle's own web server: `https://<handle>/.well-known/atproto-did`.

Spec: https://atproto.com/specs/handle#https-well-known-method
"""

from __future__ import annotations

import httpx

from eurosky_pipeline.atproto.syntax import MAX_DID_LENGTH, is_account_did
from eurosky_pipeline.errors import PermanentError, SettingsError
from eurosky_pipeline.identity.directory import Directory
from eurosky_pipeline.identity.fetch import Fetched, fetch, is_passing
from eurosky_pipeline.xrpc.answers import error_for_answer

MAX_REDIRECTS = 3
MAX_BODY_BYTES = 2 * MAX_DID_LENGTH
"""A DID with space around it; the web page that many servers send for any path is longer."""


def well_known_did(directory: Directory, handle: str) -> str | None:
    """The DID that the handle's web server names; None if it names none.

    Redirects are followed, each of their hosts checked as the first one is, and none of them away from https.

    Args:
        handle: checked, and not below a reserved domain.

    Raises:
        TransientError: the server cannot be asked just now.
        SettingsError: the handle, or a redirect, leads to a host that may not be asked.
    """
    try:
        answer = _follow(directory, f"https://{handle}/.well-known/atproto-did", what=f"the DID of {handle}")
    except PermanentError:
        return None
    text = answer.body.strip(b" \t\r\n").decode("ascii", "replace")
    return text if 200 <= answer.status < 300 and is_account_did(text) else None


def _follow(directory: Directory, url: str, *, what: str) -> Fetched:
    """The first answer that is no redirect, or the last redirect allowed."""
    for _ in range(MAX_REDIRECTS + 1):
        host = _check_host(directory, url)
        answer = fetch(directory.http, url, what=what, max_bytes=MAX_BODY_BYTES)
        if is_passing(answer.status):
            raise error_for_answer(answer.status, {}, host=host, nsid=what)
        if not (300 <= answer.status < 400 and answer.location):
            break
        try:
            url = str(httpx.URL(url).join(answer.location))
        except (httpx.InvalidURL, ValueError):
            break
    return answer


def _check_host(directory: Directory, url: str) -> str:
    parts = httpx.URL(url)
    netloc = parts.netloc.decode("ascii", "replace")  # `host` would decode xn-- labels, and chokes on bad ones
    if parts.scheme != "https" or parts.userinfo:
        raise SettingsError(
            f"the handle leads to {netloc[:253]!r} with credentials or without https",
            code="host_refused",
            hint="its owner has to correct that",
        )
    directory.policy.check_reachable(f"https://{netloc}")
    return netloc
