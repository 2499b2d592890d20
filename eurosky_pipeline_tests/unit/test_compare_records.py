"""Every record in exactly one class, by what the destination gives back and by nothing that it says of itself."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from eurosky_pipeline.errors import FatalError, StoppedError
from eurosky_pipeline.reconcile.records import RECORDS_SHOWN, RecordComparison, compare_records
from eurosky_pipeline.xrpc.errors import AuthError
from eurosky_pipeline.xrpc.retry import RetryPolicy
from eurosky_pipeline_tests.builders import DID, OTHER_DID, make_car, make_post, make_posts, make_repo, make_repo_car
from eurosky_pipeline_tests.fake_pds import FakePds, body_answer, json_answer

POSTS = make_posts(20)
REPO = make_repo(POSTS)
CAR = make_car(REPO.root, REPO.blocks)
FIRST, SECOND, *_, LAST = sorted(POSTS)
ADDED = "app.bsky.feed.post/zzzzzzzzzzzzz"


@pytest.fixture
def car(tmp_path: Path) -> Path:
    path = tmp_path / "account.converted.car"
    path.write_bytes(CAR)
    return path


def holding(repo: bytes, *, is_active: bool = False) -> FakePds:
    """A destination that says it stands at the imported repository, and gives out this one."""
    return FakePds("new.example", commit=str(REPO.root), repo=repo, is_active=is_active)


def compare(
    destination: FakePds, car: Path, *, retries: int = 0, stop: threading.Event | None = None, max_bytes: int = 10**6
) -> RecordComparison:
    return compare_records(
        destination.client,
        DID,
        car,
        car.with_name("records.csv"),
        max_bytes=max_bytes,
        retry=RetryPolicy(retries, first_wait_s=0.01),
        stop=stop or threading.Event(),
    )


def table(car: Path) -> dict[str, dict[str, str]]:
    with car.with_name("records.csv").open(newline="") as file:
        return {row["key"]: row for row in csv.DictReader(file)}


def counts(found: RecordComparison) -> dict[str, int]:
    return {str(verdict): count for verdict, count in found.counts.items() if count}


def test_records_that_are_as_imported_are_equal(car: Path) -> None:
    found = compare(holding(CAR), car)
    assert (counts(found), found.has_lost, found.error) == ({"equal": 20}, False, "")
    assert table(car) == {}
    assert found.as_progress() == {
        "reconciliation_records_equal": 20,
        "reconciliation_records_missing": 0,
        "reconciliation_records_differing": 0,
        "reconciliation_records_extra": 0,
    }


@pytest.mark.parametrize("is_active", [False, True])
@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ({key: value for key, value in POSTS.items() if key != FIRST}, {FIRST: "missing"}),
        ({key: value for key, value in POSTS.items() if key != LAST}, {LAST: "missing"}),
        ({**POSTS, SECOND: make_post("changed")}, {SECOND: "differing"}),
        ({**POSTS, ADDED: make_post()}, {ADDED: "extra"}),
        ({key: POSTS[key] for key in list(POSTS)[1:]} | {SECOND: make_post("changed"), ADDED: make_post()}, None),
        ({}, dict.fromkeys(POSTS, "missing")),
    ],
    ids=["first missing", "last missing", "differing", "extra", "all three", "all missing"],
)
def test_every_record_that_is_not_equal_is_named(
    car: Path, there: dict, expected: dict[str, str] | None, is_active: bool
) -> None:
    expected = expected or {next(iter(POSTS)): "missing", SECOND: "differing", ADDED: "extra"}
    found = compare(holding(make_repo_car(there), is_active=is_active), car)
    assert {key: row["verdict"] for key, row in table(car).items()} == expected
    assert {row.key: str(row.verdict) for row in found.shown} == expected
    assert found.records == len(POSTS.keys() | there.keys())
    is_owners = is_active and set(expected.values()) == {"extra"}
    assert found.has_lost is not is_owners


def test_a_row_tells_what_either_side_has(car: Path) -> None:
    changed = make_repo({**POSTS, SECOND: make_post("changed"), ADDED: make_post()})
    compare(holding(make_car(changed.root, changed.blocks)), car)
    rows = table(car)
    assert rows[SECOND]["imported_cid"] != rows[SECOND]["destination_cid"]
    assert rows[SECOND]["imported_cid"].startswith("bafyrei")
    assert (rows[ADDED]["imported_cid"], rows[ADDED]["destination_cid"][:7]) == ("", "bafyrei")


def test_a_long_list_is_shown_in_part_and_written_down_whole(car: Path) -> None:
    car.write_bytes(make_repo_car({}))
    posts = make_posts(RECORDS_SHOWN + 5)
    destination = holding(make_repo_car(posts), is_active=True)
    found = compare(destination, car)
    assert len(found.shown) == RECORDS_SHOWN
    assert table(car).keys() == posts.keys()


def test_a_lost_block_is_a_loss_though_the_commit_is_right(car: Path) -> None:
    found = compare(holding(make_car(REPO.root, REPO.blocks[:-1])), car)
    assert "new.example gives back a repository that is not whole" in found.error
    assert found.is_compared
    assert found.has_lost
    assert found.as_progress()["reconciliation_records_equal"] is None


def test_another_accounts_repository_is_a_loss(car: Path) -> None:
    found = compare(holding(make_repo_car(POSTS, did=OTHER_DID)), car)
    assert found.has_lost
    assert OTHER_DID in found.error
    assert counts(found) == {}


def limited(_: httpx.Request) -> httpx.Response:
    return httpx.Response(429, headers={"retry-after": "4000"}, content=iter([b"{}"]))


def broken(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("reset", request=request)


def closed(_: httpx.Request) -> httpx.Response:
    return json_answer({"error": "RepoDeactivated"}, 400)


@pytest.mark.parametrize("endpoint", ["getRepo", "checkAccountStatus"])
@pytest.mark.parametrize("fault", [broken, limited, closed, lambda _: json_answer({}, 500)])
def test_a_destination_that_does_not_answer_is_told_of_and_no_exception(
    car: Path, endpoint: str, fault: Callable[[httpx.Request], httpx.Response]
) -> None:
    destination = holding(CAR)
    destination.faults[endpoint] = fault
    found = compare(destination, car)
    assert (found.is_compared, found.has_lost, counts(found)) == (False, False, {})
    assert "new.example" in found.error
    assert (found.rate_limit is not None) == (fault is limited)
    assert table(car) == {}
    assert found.as_progress()["reconciliation_records_equal"] is None


def test_a_repository_beyond_all_bounds_is_not_compared(car: Path) -> None:
    found = compare(holding(CAR), car, max_bytes=1000)
    assert not found.is_compared
    assert "more than 1000 bytes" in found.error


def test_it_is_read_again_before_that_is_given_up(car: Path) -> None:
    destination = holding(CAR)
    answers = iter([json_answer({}, 502), None])
    destination.faults["getRepo"] = lambda _: next(answers)
    assert counts(compare(destination, car, retries=1)) == {"equal": 20}


def test_a_refused_session_is_raised(car: Path) -> None:
    destination = holding(CAR)
    destination.faults["getRepo"] = lambda _: json_answer({"error": "AuthenticationRequired"}, 401)
    with pytest.raises(AuthError):
        compare(destination, car)


def test_it_stops_when_asked_to(car: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        compare(holding(CAR), car, stop=stop)


def test_a_destination_that_stands_elsewhere_is_not_read(car: Path) -> None:
    destination = holding(CAR)
    destination.commit = None
    with pytest.raises(FatalError, match="does not stand at the imported repository"):
        compare(destination, car)
    assert "getRepo" not in destination.asked


@pytest.mark.parametrize("answer", [lambda _: None, broken, lambda _: body_answer(b"no car")])
def test_the_copy_that_was_read_back_does_not_stay(car: Path, answer: Callable) -> None:
    destination = holding(CAR)
    destination.faults["getRepo"] = answer
    compare(destination, car)
    assert sorted(path.name for path in car.parent.iterdir()) == [car.name, "records.csv"]
