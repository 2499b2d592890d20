"""A session whose access token has gone stale, on a real server: renewed once, for all threads."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

from eurosky_pipeline.sandbox.seed import SeededAccount, seed
from eurosky_pipeline.xrpc.client import UploadBody, XrpcClient, new_http_client
from eurosky_pipeline.xrpc.endpoints import check_account_status, upload_blob
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.session import Session, _Tokens, log_in

THREADS = 8


@pytest.fixture(scope="module")
def account(sandbox) -> SeededAccount:
    return seed(sandbox.state, records=5, blobs=1, blob_bytes=5_000, report=print)


@pytest.mark.parametrize(
    ("is_refresh_good", "expected"), [(True, {"refreshSession": 1}), (False, {"createSession": 1})]
)
def test_threads_with_a_stale_token_renew_it_once(
    account: SeededAccount, is_refresh_good: bool, expected: dict[str, int]
) -> None:
    asked: Counter[str] = Counter()
    http = new_http_client(THREADS, HostPolicy(is_private_allowed=True))
    public = XrpcClient(http, account.destination_pds)
    password = SecretStr(account.destination_password)
    good = log_in(public, account.did, password)._tokens
    refresh = good.refresh if is_refresh_good else good.refresh[:-4] + "AAAA"
    stale = Session(public, account.did, password, _Tokens(good.access[:-4] + "AAAA", refresh))
    http.event_hooks["request"] = [lambda request: asked.update([request.url.path.rpartition(".")[2]])]
    together = threading.Barrier(THREADS, timeout=30)

    def ask() -> int:
        together.wait()
        return check_account_status(public.with_authorization(stale)).indexed_records

    with ThreadPoolExecutor(THREADS) as pool:
        answers = [future.result() for future in [pool.submit(ask) for _ in range(THREADS)]]
    assert answers == [0] * THREADS
    renewals = {name: asked[name] for name in expected}
    assert renewals == expected


@pytest.mark.parametrize("is_refresh_good", [True, False])
def test_a_token_that_is_none_is_not_taken_for_the_servers_fault(
    account: SeededAccount, tmp_path: Path, is_refresh_good: bool
) -> None:
    """The reference PDS answers 500, and not 401, to an upload with a token that it cannot read."""
    http = new_http_client(THREADS, HostPolicy(is_private_allowed=True))
    public = XrpcClient(http, account.destination_pds)
    password = SecretStr(account.destination_password)
    refresh = log_in(public, account.did, password)._tokens.refresh if is_refresh_good else "neither.is.this"
    statuses: list[tuple[str, int]] = []
    http.event_hooks["response"] = [
        lambda response: statuses.append((response.request.url.path.rpartition(".")[2], response.status_code))
    ]
    session = Session(public, account.did, password, _Tokens("no.token", refresh))
    path = tmp_path / "blob"
    path.write_bytes(b"a blob")
    stored = upload_blob(public.with_authorization(session), UploadBody(path, 6, "text/plain"))
    assert stored.size_bytes == 6
    renewal = [("refreshSession", 200)] if is_refresh_good else [("refreshSession", 400), ("createSession", 200)]
    assert statuses == [("uploadBlob", 500), *renewal, ("uploadBlob", 200)]
