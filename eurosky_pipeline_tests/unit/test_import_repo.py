"""The import: guarded before, proved after."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest

from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.transfer.import_repo import ImportedRepo, import_and_prove
from eurosky_pipeline_tests.builders import DID, OTHER_DID, make_car, make_post, make_posts, make_repo, make_repo_car
from eurosky_pipeline_tests.fake_pds import FakePds, body_answer

POSTS = make_posts(20)
REPO = make_repo(POSTS)
CAR = make_car(REPO.root, REPO.blocks)


@pytest.fixture
def car(tmp_path: Path) -> Path:
    path = tmp_path / "account.converted.car"
    path.write_bytes(CAR)
    return path


def run(destination: FakePds, car: Path, did: str = DID, *, is_active_allowed: bool = False) -> ImportedRepo:
    return import_and_prove(
        destination.client,
        did,
        car,
        is_active_allowed=is_active_allowed,
        max_bytes=1_000_000,
        stop=threading.Event(),
    )


def answering(repo: bytes) -> FakePds:
    """A destination that accepts an import and gives back something else."""
    destination = FakePds("new.example")
    destination.faults["getRepo"] = lambda _: body_answer(repo)
    return destination


def test_it_is_sent_whole_read_back_and_every_record_proved(car: Path) -> None:
    destination = FakePds("new.example")
    imported = run(destination, car)
    assert destination.repo == CAR
    assert destination.asked == ["checkAccountStatus", "importRepo", "getRepo"]
    assert (imported.is_skipped, imported.records_proved, imported.root) == (False, 20, REPO.root)
    assert [path.name for path in car.parent.iterdir()] == [car.name]


def test_it_is_skipped_but_still_proved_where_the_destination_has_it(car: Path) -> None:
    destination = FakePds("new.example", commit=str(REPO.root), repo=CAR, is_active=True)
    imported = run(destination, car)
    assert (imported.is_skipped, imported.records_proved) == (True, 20)
    assert "importRepo" not in destination.asked


def test_an_equal_commit_with_a_lost_block_is_no_proof(car: Path) -> None:
    lost = make_car(REPO.root, REPO.blocks[:-1])
    destination = FakePds("new.example", commit=str(REPO.root), repo=lost)
    with pytest.raises(FatalError, match="not whole") as caught:
        run(destination, car)
    assert caught.value.code == "import_not_proved"


def test_an_active_destination_is_refused_before_anything_is_sent(car: Path) -> None:
    destination = FakePds("new.example", is_active=True)
    with pytest.raises(FatalError, match=r"active on new\.example") as caught:
        run(destination, car)
    assert caught.value.code == "destination_active"
    assert destination.asked == ["checkAccountStatus"]


def test_an_active_destination_is_overwritten_if_the_migration_says_so(car: Path) -> None:
    destination = FakePds("new.example", is_active=True)
    assert run(destination, car, is_active_allowed=True).records_proved == 20
    assert "importRepo" in destination.asked


def test_another_accounts_car_is_not_sent(car: Path) -> None:
    destination = FakePds("new.example")
    with pytest.raises(FatalError) as caught:
        run(destination, car, OTHER_DID)
    assert caught.value.code == "foreign_repo"
    assert destination.asked == []


FIRST, LAST = min(POSTS), max(POSTS)
WITHOUT_FIRST = {key: value for key, value in POSTS.items() if key != FIRST}
WITHOUT_LAST = {key: value for key, value in POSTS.items() if key != LAST}


@pytest.mark.parametrize(
    ("returned", "phrase"),
    [
        (WITHOUT_FIRST, f"1 of 20 records that are not as imported: {FIRST}"),
        (WITHOUT_LAST, f"1 of 20 records that are not as imported: {LAST}"),
        ({**POSTS, LAST: make_post("changed")}, f"1 of 20 records that are not as imported: {LAST}"),
        ({**POSTS, "app.bsky.feed.post/zzzzzzzzzzzzz": make_post()}, "1 of 21 records"),
        ({}, "20 of 20 records"),
    ],
    ids=["first lost", "last lost", "changed", "added", "all lost"],
)
def test_every_difference_is_found_and_named(car: Path, returned: dict, phrase: str) -> None:
    with pytest.raises(FatalError, match=phrase) as caught:
        run(answering(make_repo_car(returned)), car)
    assert caught.value.code == "import_not_proved"
    assert "new.example" in caught.value.message


def test_the_proof_is_of_this_account(car: Path) -> None:
    with pytest.raises(FatalError, match="gives back the repository of"):
        run(answering(make_repo_car(POSTS, did=OTHER_DID)), car)


def test_the_copy_that_was_read_back_does_not_stay(car: Path) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset", request=request)

    destination = FakePds("new.example")
    destination.faults["getRepo"] = broken
    with pytest.raises(Exception, match="broke the connection"):
        run(destination, car)
    assert [path.name for path in car.parent.iterdir()] == [car.name]
