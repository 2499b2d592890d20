"""The sizes of blobs, asked of a real server: those that it has, one that it has lost, and within its real limits."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.convert.blob_sizes import BlobSizes, fetch_blob_sizes
from eurosky_pipeline.sandbox.network import down, up
from eurosky_pipeline.sandbox.seed import SeededAccount, seed
from eurosky_pipeline.xrpc.client import XrpcClient, new_http_client
from eurosky_pipeline.xrpc.endpoints import get_blob, list_blobs
from eurosky_pipeline.xrpc.errors import RateLimited, RepoUnavailable
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.session import Session, _Tokens, log_in

GONE = cid_of(b"a blob that the server does not have", CODEC_RAW)


@pytest.fixture(scope="module")
def account(sandbox) -> SeededAccount:
    return seed(sandbox.state, records=30, blobs=12, blob_bytes=3_000, report=print)


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with new_http_client(5, HostPolicy(is_private_allowed=True)) as client:
        yield client


def fetch(source: XrpcClient, did: str, cids: list[Cid]) -> BlobSizes:
    return fetch_blob_sizes(source, did, cids, stop=threading.Event())


def counted(source: XrpcClient, did: str, cid: Cid) -> int:
    with get_blob(source, did, cid) as download:
        return sum(map(len, download.chunks))


def test_a_real_server_tells_the_sizes_by_head_alone_and_says_what_it_has_not(http, account: SeededAccount) -> None:
    source = XrpcClient(http, account.source_pds)
    cids = list(list_blobs(source, account.did))
    real = {cid: counted(source, account.did, cid) for cid in sorted(cids)}
    asked: Counter[str] = Counter()
    http.event_hooks["request"] = [lambda request: asked.update([request.method])]
    found = fetch(source, account.did, [*cids, GONE])
    assert found.sizes == real
    assert len(real) == 12
    assert found.unknown.keys() == {GONE}
    assert "Blob not found" in found.unknown[GONE]
    assert asked == {"HEAD": 13, "GET": 1}


def test_a_deactivated_account_tells_its_sizes_to_its_own_session_and_a_stale_one_is_renewed_once(
    sandbox, http
) -> None:
    account = seed(sandbox.state, records=30, blobs=12, blob_bytes=3_000, report=print)
    public = XrpcClient(http, account.source_pds)
    password = SecretStr(account.source_password)
    cids = list(list_blobs(public, account.did))
    good = log_in(public, account.did, password)
    public.with_authorization(good).procedure("com.atproto.server.deactivateAccount", {})
    with pytest.raises(RepoUnavailable):
        fetch(public, account.did, cids)
    stale = _Tokens(good._tokens.access[:-4] + "AAAA", good._tokens.refresh)
    asked: Counter[str] = Counter()
    http.event_hooks["request"] = [lambda request: asked.update([request.url.path.rpartition(".")[2]])]
    found = fetch(public.with_authorization(Session(public, account.did, password, stale)), account.did, cids)
    assert (len(found.sizes), found.unknown) == (12, {})
    assert (asked["refreshSession"], asked["createSession"]) == (1, 0)


def test_a_real_limit_is_kept_and_told_before_the_server_has_to_refuse(tmp_path: Path) -> None:
    """The reference PDS's own: 3000 requests in five minutes. All but five are used up by others first."""
    state = up(tmp_path, report=print, rate_limits=True)
    try:
        account = seed(state, records=30, blobs=12, blob_bytes=3_000, report=print)
        with new_http_client(5, HostPolicy(is_private_allowed=True)) as http:
            source = XrpcClient(http, account.source_pds)
            cids = list(list_blobs(source, account.did))
            url = f"{account.source_pds}/xrpc/com.atproto.server.describeServer"
            left = int(http.get(url).headers["ratelimit-remaining"])
            with ThreadPoolExecutor(5) as pool:
                list(pool.map(lambda _: http.get(url), range(left - 5)))
            asked: list[tuple[str, int, str]] = []
            http.event_hooks["response"] = [
                lambda r: asked.append((r.request.method, r.status_code, r.headers["ratelimit-remaining"]))
            ]
            with pytest.raises(RateLimited) as caught:
                fetch(source, account.did, cids)
    finally:
        down(tmp_path, report=print)
    # one that crossed the server's hanging up was asked again, and the first time used one up too
    assert {(method, status) for method, status, _ in asked} == {("HEAD", 200)}
    told = sorted(int(remaining) for _, _, remaining in asked)
    assert told[0] == 0
    assert len(set(told)) == len(told)
    assert 3 <= len(told) <= 5
    assert told[-1] <= 4
    assert caught.value.retry_after_s == pytest.approx(250, abs=52)
