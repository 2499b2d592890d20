"""Part of the matrix, and two kills, on real servers: no blob is lost. `make faults` runs all of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from eurosky_pipeline_tests.faults import kills
from eurosky_pipeline_tests.faults.cell import Result
from eurosky_pipeline_tests.faults.kills import Killed, run_kill
from eurosky_pipeline_tests.faults.matrix import Phase, cells, faults_of, quiet_processes, run_cell
from eurosky_pipeline_tests.faults.rules import Fault
from eurosky_pipeline_tests.faults.tables import kills_table, long_table, matrix_table

# of the first test, which waits for all that runs; a minute where nothing else does
pytestmark = pytest.mark.timeout(900)
SEED = 11
PROCESSES = 5

CELLS = [
    (Fault.CUT_SHORT, Phase.LIST),
    (Fault.WRONG_BYTES, Phase.DOWNLOAD),
    (Fault.LIMITED_DATE, Phase.DOWNLOAD),
    (Fault.RESET_STORED, Phase.UPLOAD),
    (Fault.LIMITED_TOMORROW, Phase.UPLOAD),
    (Fault.RESET_BEFORE, Phase.REFRESH),
    (Fault.WRONG_BYTES, Phase.ONE_DOWN),
    (Fault.WRONG_CID, Phase.ONE_UP),
]


@pytest.fixture(scope="module")
def done(sandbox_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[object, Result | Killed]:
    """All of them beside each other: most of the time they wait."""
    with quiet_processes(PROCESSES, tmp_path_factory.mktemp("faults") / "runs.log") as pool:
        work = {cell: pool.submit(run_cell, sandbox_home, *cell, SEED) for cell in CELLS}
        work["in the middle"] = pool.submit(
            partial(run_kill, after_uploads=kills.BLOBS // 3, is_lease_tried=True), sandbox_home, SEED
        )
        work["at random"] = pool.submit(run_kill, sandbox_home, SEED)
        return {name: future.result() for name, future in work.items()}


@pytest.mark.parametrize("cell", CELLS, ids=" × ".join)
def test_no_blob_is_lost_or_counted_twice_or_sent_again_in_vain(done, cell: tuple[Fault, Phase]) -> None:
    assert list(faults_of([done[cell]])) == []


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell[1] not in (Phase.ONE_DOWN,)], ids=" × ".join)
def test_what_passes_costs_no_blob(done, cell: tuple[Fault, Phase]) -> None:
    verdict = done[cell].verdict
    assert verdict.arrived == verdict.planned == 12


def test_a_blob_that_is_always_damaged_is_named_so_and_the_others_arrive(done) -> None:
    result = done[Fault.WRONG_BYTES, Phase.ONE_DOWN]
    assert (result.verdict.arrived, result.verdict.named) == (11, {"corrupt_at_source": 1})
    assert result.first_state == "pending_prefs"


def test_a_limit_until_tomorrow_makes_the_migration_wait_and_it_goes_on_afterwards(done) -> None:
    result = done[Fault.LIMITED_TOMORROW, Phase.UPLOAD]
    assert (result.first_state, result.runs) == ("waiting", 2)
    assert result.hits <= 5, "nobody asked after the first refusal; what was under way cannot be called back"


def test_an_upload_whose_answer_was_lost_is_sent_again_and_no_other(done) -> None:
    assert done[Fault.RESET_STORED, Phase.UPLOAD].verdict.sent_again == 4


@pytest.mark.parametrize("name", ["in the middle", "at random"])
def test_a_killed_run_loses_nothing_and_its_successor_sends_only_what_is_left(done, name: str) -> None:
    assert list(kills.faults_of(done[name])) == []


def test_a_dead_runs_lease_keeps_others_out_until_it_is_over(done) -> None:
    assert "[lease_held]" in done["in the middle"].refusal
    assert done["in the middle"].runs == 2


def test_the_tables_tell_what_was_found(done) -> None:
    table = matrix_table([done[cell] for cell in CELLS])
    assert "| **lost** | 0 |" in table
    assert f"| {Fault.WRONG_BYTES} | – | 12/12 | – | – | 11/12, 1 corrupt_at_source | – |" in table
    assert "12/12, waiting (rate_limited), run 2" in table
    both = [done["in the middle"], done["at random"]]
    assert kills_table(both).count("60/60") == 2
    assert "| lost | 0 |" in long_table(done["in the middle"])


def test_each_fault_and_each_phase_has_a_cell() -> None:
    found = cells()
    assert {fault for fault, _ in found} == set(Fault)
    assert {phase for _, phase in found} == set(Phase)
