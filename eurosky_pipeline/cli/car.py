"""`eurosky car`: offline, and without Dagster, the database or the network."""

from __future__ import annotations

from pathlib import Path

import click

from eurosky_pipeline.cli.output import json_option, print_json, print_pairs


@click.group()
def car() -> None:
    """Look into a repository's CAR file, offline."""


@car.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def inspect(file: Path, *, is_json: bool) -> None:
    """What FILE holds: whose repository, its revision, its records and its blob references.

    Every block is hashed and every record read on the way: a damaged file is an error that says where.
    """
    from eurosky_pipeline.atproto.repo import open_repo
    from eurosky_pipeline.atproto.summary import summarize

    with open_repo(file) as repo:
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
    }
    if is_json:
        print_json(result)
        return
    rows = [(name, value) for name, value in result.items() if not isinstance(value, dict)]
    rows += [(f"blobs, {name}", value) for name, value in result["blobs"].items()]  # type: ignore[attr-defined]
    rows += list(found.records_by_collection.items())
    print_pairs(str(file), rows)
