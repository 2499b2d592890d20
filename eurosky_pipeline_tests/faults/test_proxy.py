"""The proxy commits what it is told to, and passes everything else as it is: else the matrix would prove nothing."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from eurosky_pipeline.atproto.cid import RAW_PREFIX, Cid
from eurosky_pipeline.xrpc.rate_limit import retry_after_s
from eurosky_pipeline_tests.faults.proxy import FaultProxy, fault_proxy
from eurosky_pipeline_tests.faults.record import GET_BLOB, UPLOAD_BLOB, Passed
from eurosky_pipeline_tests.faults.rules import TOMORROW_S, Fault, Rule
from eurosky_pipeline_tests.stub_pds import Answer, StubPds, stub_pds

BLOB = bytes(range(256)) * 400
CID = str(Cid(RAW_PREFIX + hashlib.sha256(BLOB).digest()))
STORED = {"blob": {"ref": {"$link": CID}, "mimeType": "image/png", "size": len(BLOB)}}
DOWN = f"/xrpc/{GET_BLOB}?did=did:web:a.example&cid={CID}"
UP = f"/xrpc/{UPLOAD_BLOB}"


@pytest.fixture(scope="module")
def upstream() -> Iterator[StubPds]:
    with stub_pds() as stub:
        stub.routes[GET_BLOB] = lambda _: Answer(BLOB, content_type="image/png")
        stub.routes[UPLOAD_BLOB] = lambda _: Answer(json.dumps(STORED, separators=(",", ":")).encode())
        yield stub


@pytest.fixture
def proxy(upstream: StubPds) -> Iterator[FaultProxy]:
    with fault_proxy(upstream.url) as running:
        yield running


def down(proxy: FaultProxy) -> httpx.Response:
    return httpx.get(proxy.url + DOWN, trust_env=False, timeout=30)


def up(proxy: FaultProxy) -> httpx.Response:
    return httpx.post(proxy.url + UP, content=BLOB, headers={"content-type": "image/png"}, trust_env=False, timeout=30)


def recorded(proxy: FaultProxy, nsid: str, count: int = 1) -> list[Passed]:
    """A request is recorded when it is over for the proxy, too."""
    deadline_s = time.monotonic() + 30
    while len(found := proxy.record.passed(nsid)) < count and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert len(found) == count
    return found


def with_fault(proxy: FaultProxy, fault: Fault, nsid: str, **fields: object) -> None:
    proxy.rules.append(Rule(fault, nsid, **fields))


def test_without_a_rule_bodies_statuses_and_headers_pass_as_they_are(proxy: FaultProxy) -> None:
    answer = down(proxy)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, BLOB, "image/png")
    assert up(proxy).json() == STORED
    assert httpx.get(f"{proxy.url}/xrpc/no.such.thing", trust_env=False).status_code == 501
    assert httpx.head(proxy.url + DOWN, trust_env=False).headers["content-length"] == str(len(BLOB))
    assert proxy.record.hits() == 0


def test_the_record_counts_bytes_and_uploads_by_blob(proxy: FaultProxy) -> None:
    down(proxy)
    up(proxy)
    up(proxy)
    assert [(p.blob_cid, p.bytes_down) for p in recorded(proxy, GET_BLOB)] == [(CID, len(BLOB))]
    assert [p.bytes_up for p in recorded(proxy, UPLOAD_BLOB, 2)] == [len(BLOB)] * 2
    assert proxy.record.stored() == proxy.record.confirmed() == {CID: 2}


def test_only_the_requests_of_a_rule_are_befallen(proxy: FaultProxy) -> None:
    with_fault(proxy, Fault.SERVER_500, GET_BLOB, first=2, count=2)
    assert [down(proxy).status_code for _ in range(4)] == [200, 500, 500, 200]
    assert up(proxy).status_code == 200
    recorded(proxy, GET_BLOB, 4)
    assert proxy.record.hits() == 2


def test_a_rule_for_one_blob_befalls_every_request_for_it(proxy: FaultProxy) -> None:
    for nsid in (GET_BLOB, UPLOAD_BLOB):
        with_fault(proxy, Fault.SERVER_500, nsid, blob_cid=CID)
    assert [down(proxy).status_code, down(proxy).status_code, up(proxy).status_code] == [500] * 3
    other = httpx.post(proxy.url + UP, content=b"another", headers={"content-type": "image/png"}, trust_env=False)
    assert other.status_code == 200


@pytest.mark.parametrize("fault", [Fault.RESET_BEFORE, Fault.RESET_DOWN, Fault.CUT_SHORT, Fault.STALL])
def test_a_broken_answer_never_looks_whole(proxy: FaultProxy, fault: Fault) -> None:
    with_fault(proxy, fault, GET_BLOB, seconds=0.2)
    with pytest.raises(httpx.TransportError) as caught:
        down(proxy)
    is_reset = fault is not Fault.CUT_SHORT
    assert ("reset" in str(caught.value)) is is_reset, caught.value
    assert not recorded(proxy, GET_BLOB)[0].is_answered


@pytest.mark.parametrize(("fault", "is_stored"), [(Fault.RESET_UP, False), (Fault.RESET_STORED, True)])
def test_a_reset_upload_is_stored_or_not_as_the_fault_says(proxy: FaultProxy, fault: Fault, is_stored: bool) -> None:
    with_fault(proxy, fault, UPLOAD_BLOB)
    with pytest.raises(httpx.TransportError):
        up(proxy)
    assert recorded(proxy, UPLOAD_BLOB)[0].bytes_up == (len(BLOB) if is_stored else len(BLOB) // 2)
    assert proxy.record.stored() == ({CID: 1} if is_stored else {})
    assert proxy.record.confirmed() == {}


@pytest.mark.parametrize("fault", [Fault.SHORTER, Fault.PADDED, Fault.WRONG_BYTES])
def test_a_spoilt_body_comes_whole_and_is_another_one(proxy: FaultProxy, fault: Fault) -> None:
    with_fault(proxy, fault, GET_BLOB)
    spoilt = down(proxy).content
    assert spoilt != BLOB
    assert {Fault.SHORTER: -1, Fault.PADDED: 1, Fault.WRONG_BYTES: 0}[fault] == (len(spoilt) > len(BLOB)) - (
        len(spoilt) < len(BLOB)
    )


def test_more_bytes_than_announced_are_really_sent(proxy: FaultProxy) -> None:
    with_fault(proxy, Fault.OVERLONG, GET_BLOB)
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.sendall(f"GET {DOWN} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        raw = b""
        while piece := client.recv(65536):
            raw += piece
    head, _, body = raw.partition(b"\r\n\r\n")
    assert f"content-length: {len(BLOB)}".encode() in head
    assert body.startswith(BLOB)
    assert len(body) > len(BLOB)


def test_a_wrong_cid_stands_in_the_answer_alone(proxy: FaultProxy) -> None:
    with_fault(proxy, Fault.WRONG_CID, UPLOAD_BLOB)
    assert up(proxy).json()["blob"]["ref"]["$link"] != CID
    recorded(proxy, UPLOAD_BLOB)
    assert proxy.record.stored() == {CID: 1}
    assert proxy.record.confirmed() == {}


@pytest.mark.parametrize(
    ("fault", "expected_s"),
    [
        (Fault.LIMITED_SECONDS, 30),
        (Fault.LIMITED_DATE, 30),
        (Fault.LIMITED_UNIX, 30),
        (Fault.LIMITED_DELTA, 30),
        (Fault.LIMITED_BARE, None),
        (Fault.LIMITED_TOMORROW, TOMORROW_S),
    ],
)
def test_each_form_of_a_limit_says_when(proxy: FaultProxy, fault: Fault, expected_s: float | None) -> None:
    with_fault(proxy, fault, UPLOAD_BLOB, seconds=30)
    answer = up(proxy)
    assert answer.status_code == 429
    found_s = retry_after_s(answer.headers)
    assert found_s == (None if expected_s is None else pytest.approx(expected_s, abs=2))


@pytest.mark.parametrize(
    ("fault", "status"),
    [(Fault.SERVER_502, 502), (Fault.SERVER_503, 503), (Fault.EXPIRED_400, 400), (Fault.EXPIRED_401, 401)],
)
def test_a_refusal_has_its_status_and_the_server_is_not_asked(
    proxy: FaultProxy, upstream: StubPds, fault: Fault, status: int
) -> None:
    with_fault(proxy, fault, GET_BLOB)
    upstream.asked.clear()
    assert down(proxy).status_code == status
    assert upstream.asked == []


def test_a_shut_door_refuses_connections_until_it_opens_again(proxy: FaultProxy) -> None:
    with_fault(proxy, Fault.REFUSED, GET_BLOB, seconds=2)
    with pytest.raises(httpx.TransportError):
        down(proxy)
    with pytest.raises(httpx.ConnectError):
        down(proxy)
    deadline_s = time.monotonic() + 30
    while True:
        try:
            assert down(proxy).content == BLOB
            return
        except httpx.ConnectError:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)


@pytest.mark.parametrize("fault", [Fault.LATENCY, Fault.DRIP])
def test_slow_is_slow_both_ways_and_otherwise_right(proxy: FaultProxy, fault: Fault) -> None:
    for nsid in (GET_BLOB, UPLOAD_BLOB):
        with_fault(proxy, fault, nsid, seconds=0.6, bytes_per_s=len(BLOB))
    for ask in (down, up):
        started_s = time.monotonic()
        answer = ask(proxy)
        assert time.monotonic() - started_s >= 0.5
        assert answer.content == BLOB or answer.json() == STORED


def test_the_same_seed_spoils_the_same_bytes(upstream: StubPds) -> None:
    spoilt = []
    for seed in (7, 7, 8):
        with fault_proxy(upstream.url, Rule(Fault.WRONG_BYTES, GET_BLOB), seed=seed) as proxy:
            spoilt.append(down(proxy).content)
    assert spoilt[0] == spoilt[1] != spoilt[2]
