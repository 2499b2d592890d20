"""Hostile files: each is refused by kind and place, or rightly accepted, in bounded time and memory.

The files, with what may be spent on each, are in `hostile`. Every one is verified in a process of its own, whose
processor time and memory are measured.
"""

import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from eurosky_pipeline.atproto import mst
from eurosky_pipeline.atproto.car import CarError
from eurosky_pipeline.atproto.indexed_car import IndexedCar, RepoError
from eurosky_pipeline.atproto.mst_node import Entry, MstError, Node, encode_node
from eurosky_pipeline.atproto.verify import MAX_PROBLEMS
from eurosky_pipeline_tests.builders import keys_at_height, make_car, make_posts, make_repo
from eurosky_pipeline_tests.unit.hostile import EMPTY_NODE, HOSTILE, RECORD, filled, with_record

_CHILD = """
import json, sys, time
from pathlib import Path
from eurosky_pipeline.atproto.verify import verify_car
found = verify_car(Path(sys.argv[1]))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(json.dumps({
    "seconds": time.process_time(), "megabytes": int(peak.split()[1]) / 1024, "problem_count": found.problem_count,
    "problems": [(problem.kind, problem.offset, problem.detail) for problem in found.problems],
}))
"""
_SPARE_BYTES = 300 * 1024 * 1024  # address space that is reserved and never used is no memory

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read in /proc")


@dataclass(frozen=True, slots=True)
class Outcome:
    seconds: float
    megabytes: float
    problem_count: int
    problems: list[tuple[str, int | None, str]]


def run(path: Path, *, seconds: float, megabytes: float) -> Outcome:
    """Verify a file in a process that is ended if it takes more than double of what it may."""

    def limit() -> None:
        space = 2 * int(megabytes * 1024 * 1024) + _SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
        resource.setrlimit(resource.RLIMIT_CPU, (2 * int(seconds) + 1, 2 * int(seconds) + 2))

    process = subprocess.run(
        [sys.executable, "-c", _CHILD, str(path)], capture_output=True, text=True, check=False, preexec_fn=limit
    )
    assert process.returncode == 0, (process.returncode, process.stderr[-2_000:])
    return Outcome(**json.loads(process.stdout))


@needs_proc
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_judged_in_bounded_time_and_memory(tmp_path, name):
    pieces, kinds, seconds, megabytes = HOSTILE[name]
    path = tmp_path / "hostile.car"
    with path.open("wb") as file:
        file.writelines(pieces())
    size_bytes = path.stat().st_size
    outcome = run(path, seconds=seconds, megabytes=megabytes)
    path.unlink()
    print(f"{name}: {outcome.seconds:.1f} s and {outcome.megabytes:.0f} MB for {size_bytes / 1e6:.1f} MB")
    assert {kind for kind, _, _ in outcome.problems} == kinds
    assert (outcome.problem_count == 0) == (kinds == set())
    assert len(outcome.problems) == min(outcome.problem_count, MAX_PROBLEMS)
    for _, offset, detail in outcome.problems:
        assert offset is not None
        assert 0 <= offset <= size_bytes
        assert 0 < len(detail) < 1_500
    assert outcome.seconds < seconds
    assert outcome.megabytes < megabytes


@needs_proc
def test_the_limits_would_be_noticed(tmp_path):
    path = tmp_path / "hostile.car"
    path.write_bytes(b"".join(with_record(b"\xa1\x61a" + filled(b"\x80"))))
    with pytest.raises(AssertionError, match=r"Memory|memory"):
        run(path, seconds=60, megabytes=20)


class Loops(dict[bytes, bytes]):
    """No file can hold a cycle of hashes, but a loader that lies comes to the same: one node for every CID."""

    def __init__(self, node: Node) -> None:
        self.loads = 0
        self._data = encode_node(node)

    def load(self, _cid: bytes) -> bytes:
        self.loads += 1
        return self._data


HIGH = next(keys_at_height(4))
LOOPS = {
    "a node that is its own left subtree": Node(RECORD[0], (Entry(HIGH, RECORD[0], None),)),
    "a node that is its own right subtree": Node(None, (Entry(HIGH, RECORD[0], RECORD[0]),)),
    "a node that is both of its subtrees": Node(RECORD[0], (Entry(HIGH, RECORD[0], RECORD[0]),)),
}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("node", LOOPS.values(), ids=LOOPS)
def test_a_cycle_ends_a_walk(node):
    loops = Loops(node)
    with pytest.raises(MstError):
        list(mst.walk(RECORD[0], loops.load))
    assert loops.loads == 2


@pytest.mark.timeout(10)
@pytest.mark.parametrize("node", LOOPS.values(), ids=LOOPS)
def test_a_cycle_ends_a_walk_that_goes_on_behind_faults(node):
    faults: list[object] = []
    loops = Loops(node)
    assert list(mst.walk(RECORD[0], loops.load, on_error=faults.append)) in ([(HIGH, RECORD[0])], [])
    assert 1 <= len(faults) <= 2
    assert loops.loads <= 3


@pytest.mark.timeout(10)
@pytest.mark.parametrize("node", LOOPS.values(), ids=LOOPS)
def test_a_cycle_ends_a_difference(node):
    with pytest.raises(MstError):
        list(mst.diff(RECORD[0], Loops(node).load, EMPTY_NODE[0], dict([EMPTY_NODE]).__getitem__))
    with pytest.raises(MstError):
        list(mst.diff(EMPTY_NODE[0], dict([EMPTY_NODE]).__getitem__, RECORD[0], Loops(node).load))
    assert list(mst.diff(RECORD[0], Loops(node).load, EMPTY_NODE[0], Loops(node).load)) == []


def test_a_file_that_is_cut_after_it_was_read_is_an_error_with_its_place(tmp_path):
    path = tmp_path / "repo.car"
    repo = make_repo(make_posts(5))
    path.write_bytes(make_car(repo.root, repo.blocks))
    car = IndexedCar(path)
    last = list(repo.records.values())[-1]
    assert car.block(last[0]) == last[1]
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    with pytest.raises(RepoError, match="shorter") as caught:
        car.block(last[0])
    assert caught.value.offset == car.offset(last[0])
    car.close()


def test_a_file_of_more_blocks_than_are_allowed_is_refused_at_the_first_too_many(tmp_path):
    path = tmp_path / "repo.car"
    repo = make_repo(make_posts(5))
    path.write_bytes(make_car(repo.root, repo.blocks))
    IndexedCar(path, max_blocks=len(repo.blocks)).close()
    with pytest.raises(CarError, match="more than") as caught:
        IndexedCar(path, max_blocks=len(repo.blocks) - 1)
    assert caught.value.offset == path.stat().st_size - len(repo.blocks[-1][1])
