"""A hundred damaged repositories, shown to us and to npm's `@atproto/repo`: who refuses what, measured."""

from pathlib import Path

import pytest

from eurosky_pipeline.atproto.commit import verify_signature
from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.errors import IntegrityError
from eurosky_pipeline.sandbox.packages import INSTALL_TIMEOUT_S, ensure_packages
from eurosky_pipeline_tests.builders import DID
from eurosky_pipeline_tests.damage import DAMAGES, FILE, GOOD, KEY
from eurosky_pipeline_tests.second_opinion import RefusedError, SecondOpinion, save_cars

pytestmark = pytest.mark.timeout(INSTALL_TIMEOUT_S)  # whoever comes first installs the packages

ACCEPTED_BY_THEM = {
    "file: a length that is not the shortest": 59,
    "file: an orphan whose CID is of codec dag-pb": 59,
    "file: a header with a third field": 59,
    "commit: a rev that is no TID": 59,
    "commit: a tree whose link is raw": 59,
    "tree: two entries swapped": 3,
    "tree: two entries swapped with their subtrees": 59,
    "tree: an entry twice": 4,
    "tree: two subtrees swapped": 59,
    "tree: a subtree on the wrong side": 6,
    "tree: a subtree twice": 63,
    "tree: a prefix written out": 59,
    "tree: all keys in one node": 59,
    "tree: a root without an entry": 59,
    "tree: an empty node in place of a subtree": 50,
    "tree: a subtree hung one height too high": 54,
    "tree: a subtree hung one height too low": 59,
    "tree: a node with a third field": 59,
    "tree: an entry with a fifth field": 59,
    "tree: an entry that shares more than there is": 1,
    "tree: an entry that shares less than nothing": 1,
    "tree: an entry whose link is raw": 1,
    "tree: a subtree whose link is raw": 59,
    "tree: a node that is not canonical": 0,
    "tree: a collection that is no NSID": 1,
    "tree: a record key of two dots": 1,
    "tree: a record key of 513 characters": 1,
    "record: keys not sorted": 1,
    "record: keys not sorted by length": 1,
    "record: a float": 1,
    "record: a float that is whole": 1,
    "record: a half float": 1,
    "record: a text that is no UTF-8": 1,
    "record: a text with half a surrogate": 1,
    "record: undefined": 1,
    "record: a link of codec dag-pb": 1,
    "record: a link of version 0": 1,
    "record: a link of SHA-512": 1,
}
"""Damages that `@atproto/repo` 0.10.14 does not mind, with all of its checks; and the records that it then reads.

Measured, and pinned so that another version's answer is seen. What is damaged has 59 records, unless the damage
needs fewer.
"""


@pytest.fixture(scope="module")
def theirs() -> SecondOpinion:
    return SecondOpinion(ensure_packages(print))


@pytest.fixture(scope="module")
def damaged(tmp_path_factory) -> dict[str, Path]:
    return dict(zip(DAMAGES, save_cars(tmp_path_factory.mktemp("damaged"), DAMAGES.values()), strict=True))


@pytest.fixture(scope="module")
def their_verdicts(theirs, damaged) -> dict[str, int | RefusedError]:
    verdicts = theirs.accept(list(damaged.values()), did=DID, did_key=KEY.public_key.did_key)
    return dict(zip(damaged, verdicts, strict=True))


def accept(path: Path) -> int:
    """The number of records in a file that is whole, and signed by our key."""
    with open_repo(path) as repo:
        count = len(list(repo.records()))
        verify_signature(repo.commit, KEY.public_key)
        return count


def test_what_is_not_damaged_is_accepted_by_both(theirs, tmp_path):
    files = save_cars(tmp_path, [FILE])
    assert theirs.accept(files, did=DID, did_key=KEY.public_key.did_key) == [len(GOOD.records)]
    assert accept(files[0]) == len(GOOD.records)


@pytest.mark.parametrize("name", DAMAGES)
def test_we_refuse_every_damage(damaged, name):
    with pytest.raises(IntegrityError):
        accept(damaged[name])


@pytest.mark.parametrize(("name", "count"), [(name, ACCEPTED_BY_THEM.get(name)) for name in DAMAGES])
def test_they_refuse_a_damage_or_read_so_many_records_of_it(their_verdicts, name, count):
    verdict = their_verdicts[name]
    assert (None if isinstance(verdict, RefusedError) else verdict) == count, verdict


def test_the_number_of_damages_that_they_accept():
    assert ACCEPTED_BY_THEM.keys() <= DAMAGES.keys()
    assert (len(ACCEPTED_BY_THEM), len(DAMAGES)) == (38, 100)


def test_their_verification_looks_into_no_record(theirs, damaged):
    files = [path for name, path in damaged.items() if name.startswith("record: ")]
    assert theirs.verify(files, did=DID, did_key=KEY.public_key.did_key) == [1] * len(files)
