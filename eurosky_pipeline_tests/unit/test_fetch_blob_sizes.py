"""The sizes of many blobs: asked for once each, several at a time, and each known, or unknown with a reason."""

from __future__ import annotations

import json
import threading
import time
from base64 import urlsafe_b64encode
from collections import Counter

import httpx
import pytest
from pydantic import SecretStr

from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.convert.blob_sizes import GIVE_UP_AFTER, MAX_REASON_CHARS, BlobSizes
from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.xrpc.client import XrpcClient, new_http_client
from eurosky_pipeline.xrpc.errors import AuthError, HostUnreachable, RepoUnavailable
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.session import log_in
from eurosky_pipeline_tests.fake_pds import FakePds, json_answer
from eurosky_pipeline_tests.stub_pds import Answer, stub_pds
from eurosky_pipeline_tests.unit.sized_blobs import DID, blobs, fetch, size_told, sizes_of


@pytest.fixture
def source() -> FakePds:
    return FakePds("old.example")


def test_each_blob_is_asked_for_once_and_its_size_told(source: FakePds) -> None:
    cids = blobs(source, 20)
    found = fetch(source, [*reversed(cids), *cids])
    assert found == BlobSizes(sizes_of(cids), {})
    assert list(found.sizes) == sorted(cids)
    assert source.asked == ["getBlob"] * 20


def test_blobs_are_asked_for_in_the_same_order_each_time(source: FakePds) -> None:
    cids, asked = blobs(source, 20), []

    def fault(request: httpx.Request) -> httpx.Response | None:
        asked.append(request.url.params["cid"])
        return size_told(source, request)

    source.faults["getBlob"] = fault
    fetch(source, cids, workers=1)
    assert asked == [str(cid) for cid in sorted(cids)]


def test_no_blobs_are_no_requests(source: FakePds) -> None:
    assert fetch(source, []) == BlobSizes({}, {})
    assert source.asked == []


def test_a_source_that_tells_no_size_has_its_blobs_counted(source: FakePds) -> None:
    cids = [source.put(bytes(number)) for number in range(1, 11)]
    assert fetch(source, cids).sizes == sizes_of(cids)


def test_each_blob_is_told_as_it_is_known_in_the_callers_thread(source: FakePds) -> None:
    cids = [*blobs(source, 9), cid_of(b"gone", CODEC_RAW)]
    told: list[tuple[Cid, int | None, int]] = []
    fetch(source, cids, on_size=lambda cid, size: told.append((cid, size, threading.get_ident())))
    known = [*sizes_of(cids[:9]).items(), (cids[9], None)]
    assert sorted(told) == sorted((cid, size, threading.get_ident()) for cid, size in known)


@pytest.mark.parametrize("workers", [1, 5])
def test_so_many_are_asked_for_at_a_time(source: FakePds, workers: int) -> None:
    cids = blobs(source, 20)

    def slowly(request: httpx.Request) -> httpx.Response | None:
        time.sleep(0.01)
        return size_told(source, request)

    source.faults["getBlob"] = slowly
    fetch(source, cids, workers=workers)
    assert source.most_under_way == workers


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, {"error": "InvalidRequest", "message": "Blob not found"}, "Blob not found"),
        (404, {"error": "BlobNotFound", "message": "a\nb\x1b[31m" + "x" * 500}, "a b [31mx"),
        (400, {"error": "BlobTakendown", "message": "Blob has been takendown"}, "takendown"),
        (403, {}, "answered 403"),
        (500, {}, "answered 500"),
        (204, {}, "no whole body"),
    ],
)
def test_a_blob_that_is_not_given_out_is_unknown_with_the_reason_in_one_line(
    source: FakePds, status: int, body: dict[str, str], reason: str
) -> None:
    good, bad = blobs(source, 2)

    def fault(request: httpx.Request) -> httpx.Response | None:
        return json_answer(body, status) if request.url.params["cid"] == str(bad) else size_told(source, request)

    source.faults["getBlob"] = fault
    found = fetch(source, [good, bad])
    assert (found.sizes, found.unknown.keys()) == ({good: 1}, {bad})
    assert reason in found.unknown[bad]
    assert "old.example" in found.unknown[bad]
    assert found.unknown[bad].isprintable()
    assert len(found.unknown[bad]) <= MAX_REASON_CHARS


@pytest.mark.parametrize("fault", [500, 503, 408, httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.ConnectError])
def test_what_fails_for_a_while_is_asked_for_again(source: FakePds, fault: int | type[httpx.TransportError]) -> None:
    cids = blobs(source, 5)
    failures = Counter[str]()

    def fail_at_first(request: httpx.Request) -> httpx.Response | None:
        cid = request.url.params["cid"]
        failures[cid] += 1
        if failures[cid] <= 3:
            if isinstance(fault, int):
                return json_answer({}, fault)
            raise fault("cut")
        return size_told(source, request)

    source.faults["getBlob"] = fail_at_first
    assert fetch(source, cids).sizes == sizes_of(cids)


def test_what_will_never_work_is_not_asked_for_again(source: FakePds) -> None:
    source.faults["getBlob"] = lambda _: json_answer({"error": "BlobNotFound"}, 404)
    fetch(source, [cid_of(b"gone")])
    assert source.asked == ["getBlob"] * 2  # HEAD, and GET for the reason


def test_a_host_that_is_gone_is_given_up_and_not_asked_for_thousands_of_blobs(source: FakePds) -> None:
    def cut(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    cids, source.faults["getBlob"] = blobs(source, 200), cut
    with pytest.raises(HostUnreachable):
        fetch(source, cids)
    assert len(source.asked) <= 2 * 4 * (GIVE_UP_AFTER + 2 * 5)
    assert len(fetch(source, cids[: GIVE_UP_AFTER - 1]).unknown) == GIVE_UP_AFTER - 1


def test_a_host_that_fails_at_every_blob_is_not_asked_four_times_for_each(source: FakePds) -> None:
    cids = blobs(source, 100)
    source.faults["getBlob"] = lambda _: json_answer({}, 500)
    found = fetch(source, cids)
    assert found.unknown.keys() == set(cids)
    assert len(source.asked) <= 2 * (100 + 3 * (GIVE_UP_AFTER + 2 * 5))


def test_failures_with_successes_between_are_the_blobs_and_not_the_hosts(source: FakePds) -> None:
    cids = blobs(source, 60)
    lost = set(sorted(cids)[::2])

    def fault(request: httpx.Request) -> httpx.Response | None:
        if any(str(cid) == request.url.params["cid"] for cid in lost):
            raise httpx.ReadTimeout("silence")
        return size_told(source, request)

    source.faults["getBlob"] = fault
    found = fetch(source, cids, workers=1)
    assert (len(found.sizes), found.unknown.keys()) == (30, lost)
    assert len(source.asked) == 30 + 2 * 4 * 30  # with HEAD, and with GET


def test_a_host_that_drops_head_is_asked_with_get(source: FakePds) -> None:
    cids = blobs(source, 12)

    def fault(request: httpx.Request) -> httpx.Response | None:
        if request.method == "HEAD":
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        return size_told(source, request)

    source.faults["getBlob"] = fault
    assert fetch(source, cids).sizes.keys() == set(cids)


@pytest.mark.parametrize(
    ("body", "kind"),
    [({"error": "RepoDeactivated"}, RepoUnavailable), ({"error": "AccountTakedown"}, AuthError)],
)
def test_what_will_not_work_for_any_blob_is_raised(
    source: FakePds, body: dict[str, str], kind: type[FatalError]
) -> None:
    cids = blobs(source, 40)
    source.faults["getBlob"] = lambda _: json_answer(body, 400)
    with pytest.raises(kind):
        fetch(source, cids)
    assert len(source.asked) <= 2 * 10


class Expiring:
    """A source of a deactivated account: only its own session gets blobs, and its first token dies half-way."""

    def __init__(self, source: FakePds, good_for: int) -> None:
        self.source, self.left, self.generation = source, good_for, 0
        self.asked: Counter[str] = Counter()
        self.lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        endpoint = request.url.path.rpartition(".")[2]
        with self.lock:
            self.asked[endpoint] += 1
            if endpoint == "refreshSession":
                self.generation += 1
            self.left -= endpoint == "getBlob"
            is_stale = request.headers.get("authorization") != f"Bearer {self.token()}" or (
                self.left < 0 and not self.generation
            )
        if endpoint != "getBlob":
            time.sleep(0.05)
            return json_answer({"did": DID, "accessJwt": self.token(), "refreshJwt": f"refresh-{self.generation}"})
        time.sleep(0.005)
        if is_stale:  # the answer to HEAD does not say why
            body = {"error": "ExpiredToken", "message": "Token has expired"} if request.method == "GET" else None
            return json_answer(body, 400)
        told = size_told(self.source, request)
        assert told is not None
        return told

    def token(self) -> str:
        claims = {"iat": 1_700_000_000, "exp": 1_700_007_200, "n": self.generation}
        parts = [urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims)]
        return ".".join([*parts, "c2ln"])


def test_a_session_that_expires_half_way_is_renewed_once_for_all_workers(source: FakePds) -> None:
    cids = blobs(source, 40)
    host = Expiring(source, good_for=20)
    public = XrpcClient(httpx.Client(transport=httpx.MockTransport(host)), "https://old.example")
    client = public.with_authorization(log_in(public, DID, SecretStr("pw")))
    assert fetch(client, cids) == BlobSizes(sizes_of(cids), {})
    assert (host.asked["createSession"], host.asked["refreshSession"]) == (1, 1)
    assert host.asked["getBlob"] <= 40 + 3 * 5


def test_fifty_sizes_at_a_tenth_of_a_second_each_take_little_more_than_a_second() -> None:
    cids = [cid_of(bytes([number]), CODEC_RAW) for number in range(50)]

    def slowly(_: dict[str, str]) -> Answer:
        time.sleep(0.1)
        return Answer(b"12345", content_type="image/png")

    with stub_pds() as server, new_http_client(5, HostPolicy(is_private_allowed=True)) as http:
        server.routes["com.atproto.sync.getBlob"] = slowly
        began_s = time.monotonic()
        found = fetch(XrpcClient(http, server.url), cids)
        elapsed_s = time.monotonic() - began_s
    assert found.sizes == dict.fromkeys(sorted(cids), 5)
    assert len(server.asked) == 50
    assert elapsed_s < 4  # of five, one after another
    print(f"{elapsed_s:.2f} s")
