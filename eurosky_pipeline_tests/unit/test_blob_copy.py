"""One blob from server to server: what is checked, and what becomes of it when a check fails."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from eurosky_pipeline.artifacts.disk import RESERVE_BYTES
from eurosky_pipeline.errors import FatalError, StoppedError
from eurosky_pipeline.transfer.blob_copy import BlobCopier
from eurosky_pipeline.xrpc.client import SEND_CHUNK_BYTES
from eurosky_pipeline.xrpc.errors import AuthError, RateLimited
from eurosky_pipeline_tests.fake_pds import FakePds, body_answer, json_answer

DATA = b"a picture of a mountain" * 100


@pytest.fixture
def source() -> FakePds:
    return FakePds("old.example")


@pytest.fixture
def destination() -> FakePds:
    return FakePds("new.example")


class Waits:
    """Stands in for time: what would have been waited for, and no waiting."""

    def __init__(self) -> None:
        self.waited_s: list[float] = []

    def __call__(self, stop: threading.Event, seconds: float) -> bool:
        self.waited_s.append(seconds)
        return stop.is_set()

    def were(self, *least_s: float) -> bool:
        """Whether these were the waits, each at most a quarter longer."""
        return len(least_s) == len(self.waited_s) and all(
            least <= waited <= 1.25 * least for least, waited in zip(least_s, self.waited_s, strict=True)
        )


def copier(source: FakePds, destination: FakePds, folder: Path, **changes: object) -> BlobCopier:
    arguments = {"max_bytes": 1_000_000, "stop": threading.Event(), "pause": Waits(), **changes}
    return BlobCopier(source.client, destination.client, "did:plc:" + "a" * 24, folder, **arguments)


def test_the_bytes_arrive_with_their_own_mime_type_and_no_file_stays(source, destination, tmp_path: Path) -> None:
    cid = source.put(DATA, "image/webp")
    outcome = copier(source, destination, tmp_path)(cid)
    assert (outcome.outcome, outcome.size_bytes, outcome.mime_type) == ("transferred", len(DATA), "image/webp")
    assert destination.blobs == {str(cid): (DATA, "image/webp")}
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_do_not_hash_to_the_cid_are_never_sent(source, destination, tmp_path: Path) -> None:
    cid = source.put(DATA)
    source.blobs[str(cid)] = (DATA[:-1] + b"!", "image/png")
    outcome = copier(source, destination, tmp_path)(cid)
    assert (outcome.outcome, outcome.error_code) == ("corrupt_at_source", "corrupt_at_source")
    assert outcome.error_class == "integrity"
    assert "old.example" in outcome.error_text
    assert destination.asked == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"error": "InvalidRequest", "message": "Blob not found"}, "missing_at_source"),
        (404, {"error": "BlobNotFound"}, "missing_at_source"),
        (400, {"error": "BlobTakendown", "message": "Blob has been takendown"}, "taken_down"),
        (500, {"error": "InternalServerError"}, "failed"),
    ],
)
def test_each_refusal_of_the_source_has_its_outcome(source, destination, tmp_path, status, body, expected) -> None:
    cid = source.put(DATA)
    source.faults["getBlob"] = lambda _: json_answer(body, status)
    outcome = copier(source, destination, tmp_path)(cid)
    assert outcome.outcome == expected
    assert f"old.example answered {status}" in outcome.error_text


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (413, {"error": "PayloadTooLarge"}, "too_large"),
        (400, {"error": "InvalidRequest", "message": "Blob has been takendown, cannot re-upload"}, "taken_down"),
        (502, {}, "failed"),
    ],
)
def test_each_refusal_of_the_destination_has_its_outcome(source, destination, tmp_path, status, body, expected) -> None:
    cid = source.put(DATA)
    destination.faults["uploadBlob"] = lambda _: json_answer(body, status)
    outcome = copier(source, destination, tmp_path)(cid)
    assert outcome.outcome == expected
    assert f"new.example answered {status}" in outcome.error_text
    assert list(tmp_path.iterdir()) == []


def test_another_cid_in_the_answer_is_not_a_success(source, destination, tmp_path: Path) -> None:
    cid, other = source.put(DATA), source.put(b"other")
    destination.faults["uploadBlob"] = lambda _: json_answer(
        {"blob": {"ref": {"$link": str(other)}, "mimeType": "image/png", "size": len(DATA)}}
    )
    outcome = copier(source, destination, tmp_path)(cid)
    assert (outcome.outcome, outcome.error_code) == ("failed", "stored_differently")


def test_another_size_in_the_answer_is_not_a_success(source, destination, tmp_path: Path) -> None:
    cid = source.put(DATA)
    destination.faults["uploadBlob"] = lambda _: json_answer(
        {"blob": {"ref": {"$link": str(cid)}, "mimeType": "image/png", "size": len(DATA) - 1}}
    )
    assert copier(source, destination, tmp_path)(cid).outcome == "failed"


def test_a_connection_that_breaks_is_this_blobs_failure(source, destination, tmp_path: Path) -> None:
    def reset(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset", request=request)

    cid = source.put(DATA)
    source.faults["getBlob"] = reset
    outcome = copier(source, destination, tmp_path)(cid)
    assert (outcome.outcome, outcome.error_code) == ("failed", "host_unreachable")


def test_a_blob_over_the_limit_is_not_downloaded_to_its_end(source, destination, tmp_path: Path) -> None:
    cid = source.put(DATA)
    outcome = copier(source, destination, tmp_path, max_bytes=len(DATA) - 1)(cid)
    assert outcome.outcome == "too_large"
    assert destination.asked == []
    assert list(tmp_path.iterdir()) == []


def test_an_announced_size_over_the_limit_is_refused_before_the_first_byte(source, destination, tmp_path: Path) -> None:
    def announce(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-length": "999999999"}, content=_never())

    cid = source.put(DATA)
    source.faults["getBlob"] = announce
    assert copier(source, destination, tmp_path)(cid).outcome == "too_large"


def test_a_refused_session_is_fatal_and_not_one_blobs_failure(source, destination, tmp_path: Path) -> None:
    cid = source.put(DATA)
    destination.faults["uploadBlob"] = lambda _: json_answer({"error": "AuthenticationRequired"}, 401)
    with pytest.raises(AuthError):
        copier(source, destination, tmp_path)(cid)
    assert list(tmp_path.iterdir()) == []


def test_being_stopped_is_no_outcome(source, destination, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(FatalError, match="asked to stop"):
        copier(source, destination, tmp_path, stop=stop)(source.put(DATA))
    assert destination.asked == []


def test_a_folder_that_cannot_be_written_is_fatal_and_named(source, destination, tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="cannot write") as caught:
        copier(source, destination, tmp_path / "gone")(source.put(DATA))
    assert caught.value.code == "disk"


def test_a_blob_without_a_mime_type_goes_as_octets(source, destination, tmp_path: Path) -> None:
    cid = source.put(DATA)
    source.faults["getBlob"] = lambda _: body_answer(DATA, "")
    assert copier(source, destination, tmp_path)(cid).mime_type == "application/octet-stream"


def _never():
    raise AssertionError("the body was read")
    yield b""


def times(count: int, answer: Callable[[], httpx.Response]) -> Callable[[httpx.Request], httpx.Response | None]:
    """A fault that happens so many times, and then no more."""
    left = iter(range(count))
    return lambda _: None if next(left, None) is None else answer()


def test_a_download_is_tried_three_more_times_after_two_four_and_eight_seconds(source, destination, tmp_path) -> None:
    cid, waits = source.put(DATA), Waits()
    source.faults["getBlob"] = lambda _: json_answer({}, 500)
    outcome = copier(source, destination, tmp_path, pause=waits)(cid)
    assert (outcome.outcome, outcome.attempts, outcome.error_class) == ("failed", 4, "transient")
    assert waits.were(2, 4, 8)


def test_an_upload_that_is_tried_again_does_not_download_again(source, destination, tmp_path: Path) -> None:
    cid = source.put(DATA)
    destination.faults["uploadBlob"] = times(2, lambda: json_answer({}, 502))
    outcome = copier(source, destination, tmp_path)(cid)
    assert (outcome.outcome, outcome.attempts) == ("transferred", 1 + 3)
    assert source.asked == ["getBlob"]
    assert destination.blobs[str(cid)][0] == DATA
    assert outcome.bytes_moved == 4 * len(DATA)


def test_what_can_never_work_is_tried_once(source, destination, tmp_path: Path) -> None:
    cid, waits = source.put(DATA), Waits()
    destination.faults["uploadBlob"] = lambda _: json_answer({"error": "PayloadTooLarge"}, 413)
    outcome = copier(source, destination, tmp_path, pause=waits)(cid)
    assert (outcome.outcome, outcome.attempts, outcome.error_class) == ("too_large", 2, "permanent")
    assert waits.waited_s == []


def test_wrong_bytes_are_fetched_again_since_the_way_may_have_damaged_them(source, destination, tmp_path) -> None:
    cid = source.put(DATA)
    source.faults["getBlob"] = times(1, lambda: body_answer(DATA[:-1] + b"!"))
    outcome = copier(source, destination, tmp_path)(cid)
    assert (outcome.outcome, outcome.attempts) == ("transferred", 3)
    assert destination.blobs[str(cid)][0] == DATA


def test_a_rate_limit_is_no_blobs_outcome(source, destination, tmp_path: Path) -> None:
    cid, waits = source.put(DATA), Waits()
    destination.faults["uploadBlob"] = lambda _: json_answer({"error": "RateLimitExceeded"}, 429)
    with pytest.raises(RateLimited):
        copier(source, destination, tmp_path, pause=waits)(cid)
    assert waits.were(8, 16, 32)
    assert list(tmp_path.iterdir()) == []


def test_a_limit_until_tomorrow_is_not_waited_for(source, destination, tmp_path: Path) -> None:
    cid, waits = source.put(DATA), Waits()
    destination.faults["uploadBlob"] = lambda _: httpx.Response(429, headers={"retry-after": "86390"}, content=iter([]))
    with pytest.raises(RateLimited) as caught:
        copier(source, destination, tmp_path, pause=waits)(cid)
    assert caught.value.retry_after_s == 86390
    assert waits.waited_s == []


def test_a_full_disk_is_told_before_a_byte_is_written(source, destination, tmp_path: Path, monkeypatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=RESERVE_BYTES + len(DATA) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    cid = source.put(DATA)
    source.faults["getBlob"] = lambda _: httpx.Response(
        200, headers={"content-length": str(len(DATA))}, content=_never()
    )
    with pytest.raises(FatalError) as caught:
        copier(source, destination, tmp_path)(cid)
    assert caught.value.code == "disk_full"
    assert destination.asked == []


def test_what_it_took_is_told(source, destination, tmp_path: Path) -> None:
    outcome = copier(source, destination, tmp_path)(source.put(DATA))
    assert (outcome.attempts, outcome.bytes_moved) == (2, 2 * len(DATA))
    assert outcome.download_s > 0
    assert outcome.upload_s > 0
    assert outcome.started_at is not None
    assert outcome.ended_at is not None
    assert 0 <= (outcome.ended_at - outcome.started_at).total_seconds() < 60


def test_being_stopped_in_the_middle_of_a_download_ends_it_there(source, destination, tmp_path: Path) -> None:
    stop, sent = threading.Event(), []

    def pieces():
        for number in range(100):
            if number == 2:
                stop.set()
            sent.append(number)
            yield b"x" * 1000

    source.faults["getBlob"] = lambda _: httpx.Response(200, content=pieces())
    with pytest.raises(StoppedError):
        copier(source, destination, tmp_path, stop=stop)(source.put(DATA))
    assert sent == [0, 1, 2]
    assert list(tmp_path.iterdir()) == []


def test_being_stopped_in_the_middle_of_an_upload_ends_it_there(source, destination, tmp_path: Path) -> None:
    stop, data = threading.Event(), b"x" * (5 * SEND_CHUNK_BYTES)
    cid, sent = source.put(data), []

    def on_bytes(count: int) -> None:
        sent.append(count)
        stop.set()

    with pytest.raises(StoppedError):
        copier(source, destination, tmp_path, stop=stop, max_bytes=len(data), on_bytes=on_bytes)(cid)
    assert sent == [SEND_CHUNK_BYTES]
    assert destination.blobs == {}


def test_a_stop_before_the_upload_is_heeded_and_nothing_is_asked(source, destination, tmp_path: Path) -> None:
    stop = threading.Event()

    def last_piece():
        yield DATA
        stop.set()

    source.faults["getBlob"] = lambda _: httpx.Response(200, content=last_piece())
    with pytest.raises(StoppedError):
        copier(source, destination, tmp_path, stop=stop)(source.put(DATA))
    assert destination.asked == []


def test_bytes_are_told_as_they_leave(source, destination, tmp_path: Path) -> None:
    told: list[int] = []
    copier(source, destination, tmp_path, on_bytes=told.append)(source.put(DATA))
    assert sum(told) == len(DATA)
