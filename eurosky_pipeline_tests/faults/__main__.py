"""Move accounts through faults and kills, and look what has become of every blob.

    python -m eurosky_pipeline_tests.faults --write docs/reliability.md     all of it, in twenty minutes: `make faults`
    python -m eurosky_pipeline_tests.faults matrix                          fault × phase
    python -m eurosky_pipeline_tests.faults matrix --fault 500 --phase upload
    python -m eurosky_pipeline_tests.faults kills --kills 5 --seed 7        SIGKILLs at random instants
    python -m eurosky_pipeline_tests.faults long --blobs 500                one large account, killed in the middle

Each migration is the real one, between the real servers of a sandbox that is made for it; the exit code is 1 if a blob
was lost or counted twice, or anything else is not as it must be. Waits are not shortened.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import as_completed
from functools import partial
from pathlib import Path

from benchmarks.document import replace_table, tell
from eurosky_pipeline.sandbox.network import down, up
from eurosky_pipeline_tests.faults.cell import Result
from eurosky_pipeline_tests.faults.kills import Killed, run_kill
from eurosky_pipeline_tests.faults.kills import faults_of as faults_of_kill
from eurosky_pipeline_tests.faults.matrix import Phase, cells, faults_of, quiet_processes, run_matrix
from eurosky_pipeline_tests.faults.rules import Fault
from eurosky_pipeline_tests.faults.tables import kills_table, long_table, matrix_table

PARTS = ("matrix", "kills", "long")
KILLS_BESIDE = 2
LONG_BLOB_BYTES = 20_000
Done = tuple[str, list[str]]  # a table, and what is wrong


def main() -> None:
    options = _options()
    done: dict[str, Done] = {}
    with tempfile.TemporaryDirectory(prefix="eurosky-sandbox-") as folder:
        home = Path(folder)
        up(home, report=tell)
        try:
            parts: dict[str, Callable[[], Done]] = {
                "matrix": partial(_matrix, home, options),
                "kills": partial(_kills, home, options),
                "long": partial(_long, home, options),
            }
            for name in options.parts or PARTS:
                done[name] = parts[name]()
        finally:
            down(home, report=tell)
    for name, (table, _) in done.items():
        if options.write:
            replace_table(options.write, name, table)
        else:
            print(table, end="\n\n")
    wrong = [text for _, texts in done.values() for text in texts]
    tell("\n".join(wrong) or "nothing lost, nothing counted twice")
    sys.exit(bool(wrong))


def _matrix(home: Path, options: argparse.Namespace) -> Done:
    chosen = [
        (fault, phase) for fault, phase in cells() if options.fault in (None, fault) and options.phase in (None, phase)
    ]
    left = len(chosen)

    def report(result: Result) -> None:
        nonlocal left
        left -= 1
        verdict = result.verdict
        wrong = "; ".join(faults_of([result]))
        tell(
            f"{result.fault} × {result.phase}: {verdict.arrived}/{verdict.planned} in {result.seconds:.0f} s, "
            f"{result.runs} runs; {left} cells left{f'  WRONG: {wrong}' if wrong else ''}"
        )

    with quiet_processes(options.processes, options.log) as pool:
        results = run_matrix(pool, home, chosen, seed=options.seed, report=report)
    return matrix_table(results), list(faults_of(results))


def _kills(home: Path, options: argparse.Namespace) -> Done:
    killed: list[Killed] = []
    with quiet_processes(KILLS_BESIDE, options.log) as pool:
        seeds = range(options.seed, options.seed + options.kills)
        for future in as_completed([pool.submit(run_kill, home, seed) for seed in seeds]):
            killed.append(future.result())
            tell(f"{len(killed)} of {options.kills} killed, the last after {killed[-1].instant_s} s")
    return kills_table(killed), [f"kill after {k.instant_s} s: {text}" for k in killed for text in faults_of_kill(k)]


def _long(home: Path, options: argparse.Namespace) -> Done:
    tell(f"an account with {options.blobs} blobs is made, and killed in the middle")
    begun_s = time.monotonic()
    with quiet_processes(1, options.log) as pool:
        work = partial(run_kill, blobs=options.blobs, blob_bytes=LONG_BLOB_BYTES, latency_s=0.0)
        killed = pool.submit(work, home, options.seed, after_uploads=options.blobs // 2).result()
    tell(f"done after {time.monotonic() - begun_s:.0f} s")
    return long_table(killed), [f"the large account: {text}" for text in faults_of_kill(killed)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all of them if none is named")
    parser.add_argument("--fault", type=Fault, metavar="FAULT", help=f"only this one: {'; '.join(Fault)}")
    parser.add_argument("--phase", type=Phase, metavar="PHASE", help=f"only this one: {'; '.join(Phase)}")
    parser.add_argument(
        "--seed", type=int, default=1, help="of what is cut and spoilt where, and of the kills' instants"
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--blobs", type=int, default=2000, help="of the large account")
    parser.add_argument("--processes", type=int, default=6, help="cells beside each other; they wait most of the time")
    parser.add_argument("--log", type=Path, default=Path(".fuzz/faults.log"), help="where the runs' own output goes")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the document whose tables are replaced")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part called {', '.join(sorted(unknown))}")
    options.log = options.log.absolute()
    options.log.parent.mkdir(exist_ok=True)
    return options


if __name__ == "__main__":
    main()
