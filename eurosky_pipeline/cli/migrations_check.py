"""`eurosky migrations check`: go or no-go, before anything moves."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from eurosky_pipeline.cli.output import json_option, print_json, print_table, tell

EXIT_NO_GO = 3


@click.command()
@click.argument("token")
@json_option
def check(token: str, *, is_json: bool) -> None:
    """Look at one migration before anything moves: both servers, both accounts, what is to move, and room for it.

    Each row is a check: go, warn (it can begin, but somebody should know), no-go (it would fail), or unknown (nobody
    can tell from here). Nothing is changed, at either server or in the registry; each password that was given costs
    its account one login. It takes seconds, and never more than two minutes.

    \b
    Exit code: 0 no check says no-go · 3 one does
               1 it could not be looked at, or was stopped · 2 bad arguments
    """
    from eurosky_pipeline.preflight.check import check_migration
    from eurosky_pipeline.preflight.findings import Finding, Verdict
    from eurosky_pipeline.registry.registry import open_registry
    from eurosky_pipeline.settings import load_settings

    settings = load_settings()
    registry = open_registry(settings)
    try:
        migration = registry.get(token)
        found: list[Finding] = list(check_migration(settings, registry, migration, report=_tell_name))
    finally:
        registry.close()
    is_ok = all(finding.verdict is not Verdict.NO_GO for finding in found)
    if is_json:
        print_json({"token": token, "ok": is_ok, "checks": [asdict(finding) for finding in found]})
    else:
        print_table(
            ["check", "verdict", "found", "needed", "why, and what to do"],
            [(f.name, f.verdict, f.found, f.needed, " → ".join(filter(None, (f.reason, f.what_to_do)))) for f in found],
        )
        tell(f"{token}: {'go' if is_ok else 'no-go'}")
    sys.exit(0 if is_ok else EXIT_NO_GO)


def _tell_name(name: str) -> None:
    tell(f"looking at: {name}")
