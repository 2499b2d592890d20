"""The results, as tables of docs/reliability.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eurosky_pipeline_tests.faults.cell import Result
from eurosky_pipeline_tests.faults.kills import Killed
from eurosky_pipeline_tests.faults.matrix import Phase
from eurosky_pipeline_tests.faults.rules import Fault

_NOTHING = "–"


def matrix_table(results: Sequence[Result]) -> str:
    """Totals, and a row a fault; a cell says how many blobs arrived, and what became of the rest."""
    by_cell = {(result.fault, result.phase): result for result in results}
    phases = [phase for phase in Phase if any(result.phase == phase for result in results)]
    rows = [
        [str(fault), *(_cell(by_cell.get((fault, phase))) for phase in phases)]
        for fault in Fault
        if any(result.fault == fault for result in results)
    ]
    return f"{_totals(results)}\n\n{_table(['fault', *phases], rows)}"


def _cell(result: Result | None) -> str:
    if result is None:
        return _NOTHING
    verdict = result.verdict
    said = [f"{verdict.arrived}/{verdict.planned}"]
    said += [f"{count} {outcome}" for outcome, count in verdict.named.items()]
    if verdict.lost:
        said.append(f"**{len(verdict.lost)} lost**")
    if result.runs > 1:
        said.append(f"{result.first_state}{f' ({result.first_code})' if result.first_code else ''}, run {result.runs}")
    return ", ".join(said)


def _totals(results: Sequence[Result]) -> str:
    verdicts = [result.verdict for result in results]
    hits = sum(result.hits for result in results)
    rows = [
        ["cells", len(results)],
        ["requests that met a fault", hits],
        ["blobs planned", sum(v.planned for v in verdicts)],
        ["arrived, with the right bytes", sum(v.arrived for v in verdicts)],
        ["named as failed", sum(sum(v.named.values()) for v in verdicts)],
        ["**lost**", sum(len(v.lost) for v in verdicts)],
        ["**counted twice**", sum(v.counted_twice for v in verdicts)],
        ["uploads of a blob that the server already had", sum(v.sent_again for v in verdicts)],
        ["of them, where it had said so", sum(v.needless for v in verdicts)],
    ]
    return _table(["in all cells", ""], [[str(name), f"{count:,}"] for name, count in rows], is_number=True)


def kills_table(kills: Sequence[Killed]) -> str:
    """A row a kill."""
    header = [
        "killed after", "requests", "state", "in the ledger", "known to be stored", "under way",
        "of the known sent again", "of those under way sent again", "runs", "arrived", "lost", "counted twice",
    ]  # fmt: skip
    rows = [
        [
            f"{killed.instant_s:.1f} s",
            str(killed.requests),
            killed.killed_in,
            *map(str, (killed.ledger_rows, killed.confirmed_before, killed.in_flight, killed.confirmed_sent_again)),
            *map(str, (killed.verdict.sent_again, killed.runs)),
            f"{killed.verdict.arrived}/{killed.verdict.planned}",
            *map(str, (len(killed.verdict.lost), killed.verdict.counted_twice)),
        ]
        for killed in sorted(kills, key=lambda killed: killed.requests)
    ]
    return _table(header, rows)


def long_table(killed: Killed) -> str:
    """The one large account."""
    verdict, all_bytes = killed.verdict, killed.bytes_up_before + killed.bytes_up_after
    rows = [
        ["blobs planned", f"{verdict.planned:,}"],
        ["stored when the run was killed, and known to it", f"{killed.confirmed_before:,}"],
        ["in the ledger by then", f"{killed.ledger_rows:,}"],
        ["under way", str(killed.in_flight)],
        ["bytes sent by the run that was killed", f"{killed.bytes_up_before:,}"],
        ["bytes sent by the next", f"{killed.bytes_up_after:,} ({killed.bytes_up_after / all_bytes:.0%} of all)"],
        ["blobs sent again that were known to be stored", str(killed.confirmed_sent_again)],
        ["arrived, with the right bytes", f"{verdict.arrived:,}"],
        ["lost", str(len(verdict.lost))],
        ["counted twice", str(verdict.counted_twice)],
    ]
    return _table(["one account", ""], rows, is_number=True)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], *, is_number: bool = False) -> str:
    line = "---:" if is_number else "---"
    lines = [f"| {' | '.join(header)} |", f"|---|{'|'.join([line] * (len(header) - 1))}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
