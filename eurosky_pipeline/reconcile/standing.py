"""Whether the destination's account still is what was imported: else it is no witness for anything."""

from __future__ import annotations

import threading
from functools import partial

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import AccountStatus, check_account_status
from eurosky_pipeline.xrpc.retry import RetryPolicy, with_retries


class DestinationChangedError(FatalError):
    """The destination's repository is not the one that was imported."""

    default_code = "destination_changed"


def require_standing(
    destination: XrpcClient, did: str, root: Cid, *, retry: RetryPolicy, stop: threading.Event
) -> AccountStatus:
    """The destination's account, which must stand at the commit `root` as long as nobody can write there.

    Raises: DestinationChangedError, and what the host says that is no answer.
    """
    account = with_retries(partial(check_account_status, destination), retry, stop=stop)
    if not account.is_activated and account.repo_commit != root:
        raise DestinationChangedError(
            f"{did} on {destination.host} does not stand at the imported repository (any more)",
            hint="materialize imported_repo and what comes after it again",
        )
    return account
