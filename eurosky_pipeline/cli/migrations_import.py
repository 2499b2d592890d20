"""`eurosky migrations import`: a list of accounts, into the registry."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import click

from eurosky_pipeline.cli.output import json_option, print_table, tell
from eurosky_pipeline.cli.passwords import password_of
from eurosky_pipeline.cli.spool import JsonArray

if TYPE_CHECKING:
    from pydantic import SecretStr

    from eurosky_pipeline.cli.bars import ForegroundProgress
    from eurosky_pipeline.intake.intake import Batch
    from eurosky_pipeline.intake.lookup import Lookup
    from eurosky_pipeline.intake.rows import Rejected, Row
    from eurosky_pipeline.registry.intake import Offer, Taken
    from eurosky_pipeline.settings import Settings
    from eurosky_pipeline.xrpc.host_policy import HostPolicy

_SHOWN_ROWS: Final = 50
_REJECTED_EXIT_CODE: Final = 3
_STAGE: Final = "import"


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Say what would become of each row; write nothing.")
@click.option(
    "--resolve",
    "is_each_checked",
    is_flag=True,
    help="Check every row over the network: that handle and DID name each other, and that the source is the DID's. "
    "Otherwise that is done when a migration starts. (A row with a handle alone is always looked up.)",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "jsonl"]),
    help="csv, or JSON Lines; default: by the suffix, or by what FILE begins with.",
)
@click.option("--source-pds", metavar="URL", help="For rows that do not say theirs.")
@click.option("--destination-pds", metavar="URL", help="For rows that do not say theirs.")
@click.option("--destination-password-env", metavar="VAR", help="Password for rows that do not give one.")
@click.option("--destination-password-prompt", is_flag=True, help="The same, asked for; nothing is shown.")
@click.option("--source-password-env", metavar="VAR", help="The source's, for rows that do not give one.")
@click.option("--source-password-prompt", is_flag=True, help="The same, asked for.")
@json_option
@click.pass_context
def import_(
    context: click.Context,
    file: Path,
    format_: str | None,
    source_pds: str | None,
    destination_pds: str | None,
    destination_password_env: str | None,
    source_password_env: str | None,
    *,
    is_dry_run: bool,
    is_each_checked: bool,
    destination_password_prompt: bool,
    source_password_prompt: bool,
    is_json: bool,
) -> None:
    """Register a list of accounts; `eurosky up` starts them by itself. FILE is CSV or JSON Lines in UTF-8; - is stdin.

    \b
    The first line of a CSV (separated by , or ; or tabs) names its columns; they are the keys in JSON Lines:
      did, handle                    one of them, or both
      source_pds, destination_pds    like https://pds.example.com
      destination_password           the account's main password there, or
      destination_password_env       the environment variable that holds it
      source_password, source_password_env    where the account is deactivated at its source
      convert_legacy_blobs, allow_active_destination    true or false

    \b
    See first what would happen:   eurosky migrations import accounts.csv --dry-run
    One password for all rows:     eurosky migrations import accounts.csv --destination-password-prompt

    Each row that cannot be taken is rejected by itself, with its line and the reason, and the exit code is 3. It can
    be run again with the same list: what is registered already is left as it is, but for its password, which is
    replaced by the one given and kept for another 48 hours. Stopped halfway, what it has told of is registered.
    """
    from eurosky_pipeline.intake.entries import Defaults, Judge
    from eurosky_pipeline.intake.intake import take_in
    from eurosky_pipeline.registry.vault import Side
    from eurosky_pipeline.sandbox.state import allowed_addresses
    from eurosky_pipeline.settings import load_settings
    from eurosky_pipeline.xrpc.host_policy import HostPolicy

    if str(file) == "-" and (destination_password_prompt or source_password_prompt):
        raise click.UsageError("a list from stdin leaves nobody to ask: give the password's variable")
    settings = load_settings()
    policy = HostPolicy(settings.is_private_hosts_allowed, allowed_addresses(settings.home))
    passwords = {
        Side.DESTINATION: _password("destination", destination_password_env, is_asked=destination_password_prompt),
        Side.SOURCE: _password("source", source_password_env, is_asked=source_password_prompt),
    }
    defaults = Defaults(
        source_pds and policy.normalize(source_pds),
        destination_pds and policy.normalize(destination_pds),
        {side: password for side, password in passwords.items() if password is not None},
    )
    with ExitStack() as stack:
        stream, size = stack.enter_context(_opened(file))
        put = stack.enter_context(_looking(settings) if is_dry_run else _taking(settings))
        lookup = stack.enter_context(_lookup(settings, policy, is_each_checked=is_each_checked))
        report = _Report(stack.enter_context(JsonArray()), is_dry_run=is_dry_run)
        with _progress(size) as progress:
            rows = _rows(file, stream, format_, lambda count: progress.advance(_STAGE, count))
            try:
                for batch in take_in(rows, Judge(policy, os.environ, defaults), lookup, put):
                    report.add(batch)
                    progress.note(_STAGE, report.so_far)
            finally:  # also of one that is stopped: so many are in
                progress.end(_STAGE, report.so_far)
        report.print(is_json=is_json)
    if report.rejected_count:
        context.exit(_REJECTED_EXIT_CODE)


class _Report:
    """What became of the rows so far; all that was rejected is in the spool, the first of it for people."""

    def __init__(self, rejected: JsonArray, *, is_dry_run: bool) -> None:
        self._spool, self._is_dry_run = rejected, is_dry_run
        self._began_s = time.monotonic()
        self._shown: list[Rejected] = []
        self._warnings = 0
        self.added = self.unchanged = self.rejected_count = 0

    @property
    def so_far(self) -> str:
        rows = self.added + self.unchanged + self.rejected_count
        elapsed_s = time.monotonic() - self._began_s
        return f"{rows:,} rows, {rows / max(elapsed_s, 0.001):,.0f} rows/s"

    def add(self, batch: Batch) -> None:
        self.added += batch.added
        self.unchanged += batch.unchanged
        self.rejected_count += len(batch.rejected)
        for item in batch.rejected:
            self._spool.add({"line": item.line, "reason": item.reason})
        self._shown += batch.rejected[: _SHOWN_ROWS - len(self._shown)]
        for line, text in batch.warnings:
            self._warnings += 1
            if self._warnings <= _SHOWN_ROWS:
                tell(f"line {line}: {text}")
            elif self._warnings == _SHOWN_ROWS + 1:
                tell("more rows have warnings; each migration tells its own when it starts")

    def print(self, *, is_json: bool) -> None:
        if is_json:
            self._spool.print(f'{{"added": {self.added}, "unchanged": {self.unchanged}, "rejected": ', "}")
            return
        would = "would be " if self._is_dry_run else ""
        click.echo(
            f"{self.added:,} {would}added, {self.unchanged:,} unchanged, {self.rejected_count:,} {would}rejected"
        )
        if self._shown:
            print_table(["line", "why it is rejected"], [(item.line, item.reason) for item in self._shown])
        if self.rejected_count > len(self._shown):
            click.echo(f"and {self.rejected_count - len(self._shown):,} more: --json has them all")
        if self.added and not self._is_dry_run:
            tell(
                "`eurosky up` starts them by itself where it runs; `eurosky migrate TOKEN` runs one now, and `eurosky "
                "migrations list` has their tokens"
            )


def _password(side: str, variable: str | None, *, is_asked: bool) -> SecretStr | None:
    from pydantic import SecretStr

    if variable and is_asked:
        raise click.UsageError(f"--{side}-password-env and --{side}-password-prompt: give one of them")
    if is_asked:
        return SecretStr(click.prompt(f"password at the {side}, for rows without one", hide_input=True, err=True))
    return password_of(variable) if variable else None


@contextmanager
def _opened(file: Path) -> Iterator[tuple[IO[bytes], int | None]]:
    """The list, and its size in bytes if anybody knows."""
    if str(file) == "-":
        if sys.stdin is None:
            raise click.UsageError("there is no stdin to read a list from")
        yield sys.stdin.buffer, None
        return
    with file.open("rb") as stream:
        size = file.stat().st_size
        yield stream, size or None  # a pipe has none


@contextmanager
def _progress(size: int | None) -> Iterator[ForegroundProgress]:
    from eurosky_pipeline.cli.bars import ForegroundProgress

    with ForegroundProgress() as progress:
        progress.begin(_STAGE, size, "B")
        yield progress


def _rows(
    file: Path, stream: IO[bytes], format_: str | None, advance: Callable[[int], None]
) -> Iterator[Row | Rejected]:
    from eurosky_pipeline.intake.csv_rows import read_csv
    from eurosky_pipeline.intake.json_rows import read_json_lines
    from eurosky_pipeline.intake.lines import Lines

    lines = Lines(stream, advance)
    by_suffix = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}.get(file.suffix.lower())
    by_content = "jsonl" if lines.first.lstrip()[:1] in {b"{", b"["} else "csv"
    if (format_ or by_suffix or by_content) == "jsonl":
        return read_json_lines(lines)
    return read_csv(lines)


@contextmanager
def _taking(settings: Settings) -> Iterator[Callable[[Sequence[Offer]], Sequence[Taken]]]:
    from eurosky_pipeline.registry.registry import open_registry

    registry = open_registry(settings)
    try:
        registry.purge_credentials()
        yield registry.take_in
    finally:
        registry.close()


@contextmanager
def _looking(settings: Settings) -> Iterator[Callable[[Sequence[Offer]], Sequence[Taken]]]:
    """What would become of offers, by the registry as it is; where there is none, none is made."""
    from eurosky_pipeline.registry.database import existing_engine, is_embedded
    from eurosky_pipeline.registry.intake import active_by_did, judge
    from eurosky_pipeline.registry.patience import patient
    from eurosky_pipeline.registry.vault import open_vault

    if not is_embedded(settings):
        open_vault(settings)  # a key that is missing is found out now, too
    engine = existing_engine(settings)

    @patient
    def look(offers: Sequence[Offer]) -> Sequence[Taken]:
        if engine is None:
            return [judge({}, offer) for offer in offers]
        with engine.connect() as connection:
            active = active_by_did(connection, [offer.new.did for offer in offers])
        return [judge(active, offer) for offer in offers]

    try:
        yield look
    finally:
        if engine is not None:
            engine.dispose()


@contextmanager
def _lookup(settings: Settings, policy: HostPolicy, *, is_each_checked: bool) -> Iterator[Lookup]:
    from eurosky_pipeline.intake.lookup import WORKERS, Lookup
    from eurosky_pipeline.sandbox.directory import directory_for
    from eurosky_pipeline.xrpc.client import new_http_client

    with new_http_client(WORKERS, policy) as http:
        yield Lookup(lambda url: directory_for(settings, http, policy, url), is_each_checked=is_each_checked)
