"""`eurosky car`: offline, and without Dagster, the database or the network."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eurosky_pipeline.cli.car_convert import convert
from eurosky_pipeline.cli.files import EXISTING_FILE, reading
from eurosky_pipeline.cli.output import json_option, print_json, print_pairs, tell

if TYPE_CHECKING:
    from eurosky_pipeline.atproto.keys import PublicKey
    from eurosky_pipeline.atproto.verify import Verification

_SHOWN_PROBLEMS = 10


@click.group()
def car() -> None:
    """Look into a repository's CAR file, verify it, and convert it, offline."""


car.add_command(convert)


@car.command()
@click.argument("file", type=EXISTING_FILE)
@json_option
def inspect(file: Path, *, is_json: bool) -> None:
    """What FILE holds: whose repository, its revision, its records and its blob references.

    Every block is hashed and every record read on the way: a damaged file is an error that says where.
    """
    from eurosky_pipeline.atproto.repo import open_repo
    from eurosky_pipeline.atproto.summary import summarize

    with reading(file) as on_read, open_repo(file, on_read=on_read) as repo:
        found = summarize(repo)
    result: dict[str, object] = {
        "did": found.did,
        "rev": found.rev,
        "version": found.version,
        "root": str(found.root),
        "records": found.records,
        "records_by_collection": found.records_by_collection,
        "blobs": {
            "current": found.current_blob_refs,
            "legacy": found.legacy_blob_refs,
            "distinct": found.distinct_blobs,
        },
        "blocks": found.blocks,
        "orphan_blocks": found.orphan_blocks,
        "duplicate_blocks": found.duplicate_blocks,
    }
    if is_json:
        print_json(result)
        return
    rows = [(name, value) for name, value in result.items() if not isinstance(value, dict)]
    rows += [(f"blobs, {name}", value) for name, value in result["blobs"].items()]  # type: ignore[attr-defined]
    rows += list(found.records_by_collection.items())
    print_pairs(click.format_filename(file), rows)


@car.command()
@click.argument("file", type=EXISTING_FILE)
@click.option("--key", metavar="did:key:…", help="Check the commit's signature too: it must be by this key.")
@json_option
def verify(file: Path, key: str | None, *, is_json: bool) -> None:
    """Whether FILE is a whole and canonical repository; exit code 0 only if it is.

    Every block is hashed, the commit and the tree are checked for their one right form, and every record is decoded
    strictly. What is wrong is named with its place; a fault does not hide the ones behind it. Orphan and duplicate
    blocks are counted, and are no fault.
    """
    from eurosky_pipeline.atproto.verify import verify_car

    public_key = _public_key(key)
    with reading(file) as on_read:
        found = verify_car(file, key=public_key, on_read=on_read)
    if is_json:
        print_json({"ok": found.is_whole, **asdict(found)})
    else:
        _tell_verification(file, found)
    sys.exit(0 if found.is_whole else 1)


def _public_key(key: str | None) -> PublicKey | None:
    """OpenSSL is imported only where it is needed, and a wrong key is told before a large file is read."""
    if key is None:
        return None
    from eurosky_pipeline.atproto.keys import PublicKeyError, parse_did_key

    try:
        return parse_did_key(key)
    except PublicKeyError as error:
        raise click.BadParameter(error.with_hint(), param_hint="--key") from None


def _tell_verification(file: Path, found: Verification) -> None:
    """The verdict in one line on stdout, and on stderr what it is made of, where that is more than one thing."""
    shown = click.format_filename(file)
    if found.is_whole:
        click.echo(
            f"{shown}: whole and canonical: {found.did}, {found.records} records in {found.blocks} blocks "
            f"({found.orphan_blocks} orphan, {found.duplicate_blocks} duplicate), "
            f"signature {'right' if found.is_signature_checked else 'not checked'}"
        )
        return
    lines = [
        f"{problem.kind}: {problem.detail}" + ("" if problem.offset is None else f" (at byte {problem.offset})")
        for problem in found.problems
    ]
    if found.problem_count == 1:
        click.echo(f"{shown}: not a whole repository: {lines[0]}")
        return
    click.echo(f"{shown}: not a whole repository: {found.problem_count} problems, {found.records} sound records")
    for line in lines[:_SHOWN_PROBLEMS]:
        tell(f"  {line}")
    if found.problem_count > _SHOWN_PROBLEMS:
        tell(f"  … and {found.problem_count - _SHOWN_PROBLEMS} more; --json has the first {len(lines)}")
