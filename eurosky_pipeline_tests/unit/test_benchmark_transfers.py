"""The benchmark's made-up blobs, its servers, and its judgement: a speed counts only if the right bytes arrived."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import httpx
import pytest

from benchmarks.blob_account import write_repository_of
from benchmarks.blob_runs import Taken, WrongResultError, list_and_plan, move, move_with_a_kill
from benchmarks.blob_servers import far_away, stub
from benchmarks.demands import Demand, missed, told
from benchmarks.made_blobs import NUMBER_BYTES, PIECE_BYTES, Arrival, MadeBlobs
from benchmarks.repository import DID
from benchmarks.transfer import speed_ups
from eurosky_pipeline.atproto.blob_refs import find_blob_refs
from eurosky_pipeline.atproto.cid import cid_of
from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.atproto.verify import verify_car

SIZES = (NUMBER_BYTES, 9, 1029, 50_000, PIECE_BYTES + NUMBER_BYTES, 1_000_003)


def bytes_of(blobs: MadeBlobs, number: int) -> bytes:
    return b"".join(blobs.pieces(number))


def arrived(blobs: MadeBlobs, data: bytes, piece_bytes: int = 65_537) -> int | None:
    arrival, view = Arrival(blobs), memoryview(data)
    for start in range(0, len(data), piece_bytes):
        arrival.take(view[start : start + piece_bytes])
    return arrival.number()


@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_made_blob_has_its_size_and_hashes_to_its_own_cid(size_bytes: int) -> None:
    blobs = MadeBlobs(3, size_bytes)
    cids = blobs.cids()
    assert len(set(cids)) == 3
    for number, cid in enumerate(cids):
        data = bytes_of(blobs, number)
        assert (len(data), hashlib.sha256(data).digest()) == (size_bytes, cid.digest)


@pytest.mark.parametrize("size_bytes", SIZES)
@pytest.mark.parametrize("piece_bytes", [7, 4096, PIECE_BYTES])
def test_what_arrives_whole_is_known_by_its_number_however_it_is_cut(size_bytes: int, piece_bytes: int) -> None:
    blobs = MadeBlobs(3, size_bytes)
    assert [arrived(blobs, bytes_of(blobs, number), piece_bytes) for number in range(3)] == [0, 1, 2]


def test_one_wrong_byte_a_missing_one_one_too_many_and_a_number_that_no_blob_has_are_no_arrival() -> None:
    blobs = MadeBlobs(3, 50_000)
    data = bytes_of(blobs, 1)
    for place in (0, 1, 1021, 49_000, 49_991, 49_992):
        wrong = bytearray(data)
        wrong[place] ^= 1
        assert arrived(blobs, bytes(wrong)) is None
    assert arrived(blobs, data[:-1]) is None
    assert arrived(blobs, data[1:]) is None
    assert arrived(blobs, data + b"\0") is None
    assert arrived(blobs, bytes_of(MadeBlobs(4, 50_000), 3)) is None
    assert arrived(blobs, b"") is None


def test_the_stub_gives_each_blob_takes_what_is_right_and_counts_both() -> None:
    blobs = MadeBlobs(3, 50_000)
    with stub(blobs) as server, httpx.Client(base_url=f"{server.url}/xrpc/", trust_env=False) as http:
        listed = http.get("com.atproto.sync.listBlobs", params={"did": DID, "limit": 2}).json()
        rest = http.get("com.atproto.sync.listBlobs", params={"did": DID, "cursor": listed["cursor"]}).json()
        assert sorted(listed["cids"] + rest["cids"]) == sorted(map(str, blobs.cids()))
        got = http.get("com.atproto.sync.getBlob", params={"did": DID, "cid": str(blobs.cids()[2])})
        assert cid_of(got.content, blobs.cids()[2].codec) == blobs.cids()[2]
        stored = http.post("com.atproto.repo.uploadBlob", content=got.content).json()
        assert stored["blob"]["ref"]["$link"] == str(blobs.cids()[2])
        in_chunks = http.post("com.atproto.repo.uploadBlob", content=iter([got.content[:9], got.content[9:]]))
        assert in_chunks.json() == stored
        assert http.post("com.atproto.repo.uploadBlob", content=got.content[:-1]).status_code == 400
        missing = http.get("com.atproto.repo.listMissingBlobs").json()["blobs"]
        assert {row["cid"] for row in missing} == set(map(str, blobs.cids()[:2]))
        counts = server.counts()
    assert (counts.uploads, counts.arrived, counts.wrong) == (3, 1, 1)
    assert counts.received_bytes == 3 * 50_000 - 1


def test_the_long_way_delays_each_request_once_and_changes_nothing() -> None:
    blobs = MadeBlobs(2, 400_000)
    with stub(blobs) as server, far_away(server.url, 0.3) as url, httpx.Client(trust_env=False) as http:
        data = bytes_of(blobs, 1)
        for _ in range(3):
            start_s = time.monotonic()
            answer = http.post(f"{url}/xrpc/com.atproto.repo.uploadBlob", content=data)
            taken_s = time.monotonic() - start_s
            assert answer.json()["blob"]["ref"]["$link"] == str(blobs.cids()[1])
            assert 0.3 <= taken_s < 0.6
        start_s = time.monotonic()
        got = http.get(f"{url}/xrpc/com.atproto.sync.getBlob", params={"cid": str(blobs.cids()[0])})
        assert time.monotonic() - start_s >= 0.3
        assert got.content == bytes_of(blobs, 0)


def test_the_engine_that_is_measured_moves_every_blob_and_what_it_took_is_told(tmp_path: Path) -> None:
    taken = move(tmp_path, MadeBlobs(7, 50_000), 5, delay_s=0.01)
    assert 0.04 <= taken.wall_s < 60  # two turns of two requests
    assert taken.cpu_s > 0
    assert 0 <= taken.above_idle_mb < 40


def test_a_transfer_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    blobs = MadeBlobs(20, 100_000)
    resumed = move_with_a_kill(tmp_path, blobs, 2, delay_s=0.05)
    assert resumed.killed_at_bytes >= 1_000_000
    assert resumed.sent_bytes <= 2_000_000 - resumed.killed_at_bytes + 2 * blobs.size_bytes
    assert resumed.sent_twice <= 2


def test_a_manifest_with_another_number_of_blobs_than_was_asked_for_is_no_measurement(tmp_path: Path) -> None:
    blobs, car = MadeBlobs(12, 1000), tmp_path / "account.car"
    write_repository_of(blobs, car)
    found = verify_car(car)
    assert (found.is_whole, found.records) == (True, 12)
    with open_repo(car) as repo:
        named = {ref.blob_cid for record in repo.records() for ref in find_blob_refs(record.value)}
    assert named == set(blobs.cids())
    assert list_and_plan(tmp_path / "one", car, blobs, 2).wall_s > 0

    write_repository_of(MadeBlobs(13, 1000), car)
    with pytest.raises(WrongResultError, match="13"):
        list_and_plan(tmp_path / "other", car, blobs, 2)


def test_what_is_not_met_is_told_and_only_what_must_be_met_is_missed() -> None:
    demands = [Demand("≤ 1 s", True), Demand("≤ 2 MB", False), Demand("≤ 1 MB", False, is_aim=True)]
    assert told(demands, is_aim=False) == "≤ 1 s, ≤ 2 MB (not met)"
    assert told(demands, is_aim=True) == "≤ 1 MB (not met)"
    assert missed(demands) == [demands[1]]


def test_a_speed_up_beyond_the_number_of_workers_is_a_disturbed_run_and_meets_nothing() -> None:
    runs = {1: [Taken(100.0, 1.0)], 5: [Taken(19.0, 1.0)], 16: [Taken(6.4, 1.0)]}
    one, five, sixteen = speed_ups("blobs", runs, {5: (4.8,), 16: (15, 15.8)})
    assert one.demands == ()
    assert [demand.is_met for demand in five.demands] == [False]
    assert "cannot be" in five.demands[0].text
    assert [(demand.is_met, demand.is_aim) for demand in sixteen.demands] == [(True, False), (False, True)]
