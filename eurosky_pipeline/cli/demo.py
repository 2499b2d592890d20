"""`eurosky demo`: the main job, whole, between two real servers on this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

import click

from eurosky_pipeline.cli.foreground import run_migration
from eurosky_pipeline.cli.output import convert_option, json_option, print_json, print_pairs, tell
from eurosky_pipeline.cli.run_outcome import EXIT_FAILED, EXIT_WAITING, Outcome, waiting_line
from eurosky_pipeline.cli.sandbox import damaged_blobs_option
from eurosky_pipeline.cli.telling import tell_sinks

if TYPE_CHECKING:
    from eurosky_pipeline.reconcile.verify import Verification
    from eurosky_pipeline.registry.registry import Registry
    from eurosky_pipeline.sandbox.seed import SeededAccount
    from eurosky_pipeline.sandbox.state import SandboxState
    from eurosky_pipeline.settings import Settings


_DIFFERENCES_SHOWN: Final = 20
NOTHING_LOST: Final = "verified: nothing was lost"


@dataclass(frozen=True, slots=True)
class _Demo:
    """What the demo did and found."""

    account: SeededAccount
    outcome: Outcome
    verification: Verification | None

    @property
    def is_verified(self) -> bool:
        return self.verification is not None and self.verification.is_equal

    @property
    def exit_code(self) -> int:
        if self.outcome.exit_code in {EXIT_FAILED, EXIT_WAITING} or self.is_verified:
            return self.outcome.exit_code
        return EXIT_FAILED

    @property
    def verdict(self) -> str:
        if not self.is_verified:
            return "NOT verified"
        damaged = len(self.account.damaged)
        if not damaged:
            return NOTHING_LOST
        blobs = "blob" if damaged == 1 else "blobs"
        return f"verified: all but the {damaged:,} {blobs} that the source does not give whole"


@click.command()
@click.option("--records", default=300, show_default=True, help="Records of the seeded account.")
@click.option("--blobs", default=60, show_default=True, help="Blobs of the seeded account; one is over 5 MB.")
@click.option("--blob-bytes", default=200_000, show_default=True, help="Mean size of a blob.")
@click.option("--legacy", default=0, show_default=True, help="Further records with blob references from before 2023.")
@damaged_blobs_option
@convert_option
@click.option("--keep", is_flag=True, help="Leave the sandbox running afterwards.")
@json_option
def demo(
    records: int,
    blobs: int,
    blob_bytes: int,
    legacy: int,
    damaged_blobs: int,
    *,
    convert_legacy_blobs: bool | None,
    keep: bool,
    is_json: bool,
) -> None:
    """Move a seeded account between two real servers on this machine, and verify it independently.

    Starts the sandbox, makes an account with records and pictures, moves it with the Dagster job, and then reads both
    servers back: every record's CID and every blob's SHA-256 must be equal, but for records that were converted, which
    must be the source's otherwise. The sandbox is stopped again if it was not running before.

    With --damaged-blobs some of the blobs are spoilt on the source just before the migration, by turns lost, corrupt
    and taken down, as they are on old servers. The migration must name these and no others, and both servers must bear
    it out. A corrupt blob is downloaded four times, with 2, 4 and 8 s between. `eurosky report TOKEN` shows afterwards
    which blobs did not arrive, and why.

    \b
    Exit code: 0 verified, nothing was lost
               3 verified, all but the damaged blobs
               else as `eurosky migrate`, and 1 if not verified
    """
    from eurosky_pipeline.orchestration.instance import prepare_instance
    from eurosky_pipeline.registry.registry import open_registry
    from eurosky_pipeline.sandbox.network import down, up
    from eurosky_pipeline.sandbox.seed import seed
    from eurosky_pipeline.sandbox.state import is_running, load_state
    from eurosky_pipeline.settings import load_settings

    settings = load_settings()
    registry = open_registry(settings)
    registry.require_not_paused()
    prepare_instance(settings)
    before = load_state(settings.home)
    must_stop = not keep and not (before and is_running(before))
    try:
        tell("1/4  the sandbox")
        state = up(settings.home, report=_tell_indented)
        tell("2/4  an account on the source, and the same one, deactivated, on the destination")
        account = seed(
            state,
            records=records,
            blobs=blobs,
            blob_bytes=blob_bytes,
            legacy=legacy,
            damaged_blobs=damaged_blobs,
            report=_tell_indented,
        )
        tell("3/4  the migration, a run of the Dagster job migrate_account")
        result = _migrate_and_verify(state, account, settings, registry, convert_legacy_blobs)
        registry.close()
        tell_sinks(settings)
    finally:
        if must_stop:
            down(settings.home, report=_tell_indented)
    _print(result, is_json=is_json)
    sys.exit(result.exit_code)


def _migrate_and_verify(
    state: SandboxState,
    account: SeededAccount,
    settings: Settings,
    registry: Registry,
    is_conversion_wanted: bool | None,
) -> _Demo:
    from pydantic import SecretStr

    from eurosky_pipeline.registry.migration import NewMigration
    from eurosky_pipeline.registry.vault import Side

    new = NewMigration(
        account.did,
        account.source_pds,
        account.destination_pds,
        handle=account.handle,
        convert_legacy_blobs=is_conversion_wanted,
    )
    migration = registry.add(new, {Side.DESTINATION: SecretStr(account.destination_password)})
    outcome = run_migration(migration.token, registry)
    if outcome.exit_code in {EXIT_FAILED, EXIT_WAITING}:
        return _Demo(account, outcome, None)
    tell("4/4  an independent look at both servers: every record's CID, every blob's SHA-256")
    found = _verify(state, account, settings)
    named = registry.get(migration.token).progress_data.get("failed_blobs", [])
    differences = (*found.differences, *_misnamed(account, named))
    for difference in differences[:_DIFFERENCES_SHOWN]:
        tell(f"     differs: {difference}")
    return _Demo(account, outcome, replace(found, differences=differences))


def _misnamed(account: SeededAccount, named: Iterable[str]) -> list[str]:
    """Where the blobs that the migration names as not arrived are others than those that were damaged."""
    damaged, said = {str(blob.blob_cid) for blob in account.damaged}, set(named)
    return [
        f"blob {cid}: damaged, and the migration does not say that it is not there" for cid in sorted(damaged - said)
    ] + [
        f"blob {cid}: the migration says that it is not there, and nobody damaged it" for cid in sorted(said - damaged)
    ]


def _verify(state: SandboxState, account: SeededAccount, settings: Settings) -> Verification:
    from pydantic import SecretStr

    from eurosky_pipeline.cli.bars import ForegroundProgress
    from eurosky_pipeline.reconcile.verify import verify_accounts
    from eurosky_pipeline.sandbox.state import allowed_addresses
    from eurosky_pipeline.xrpc.client import XrpcClient, new_http_client
    from eurosky_pipeline.xrpc.host_policy import HostPolicy
    from eurosky_pipeline.xrpc.session import log_in

    policy = HostPolicy(settings.is_private_hosts_allowed, allowed_addresses(settings.home))
    with new_http_client(settings.parallel_blobs, policy) as http, ForegroundProgress() as progress:
        source = XrpcClient(http, state.source_pds)
        public = XrpcClient(http, state.destination_pds)
        session = log_in(public, account.did, SecretStr(account.destination_password))
        return verify_accounts(
            source,
            public.with_authorization(session),
            account.did,
            workers=settings.parallel_blobs,
            is_sentinel_allowed=settings.unknown_blob_size == "sentinel",
            damaged=[blob.blob_cid for blob in account.damaged],
            progress=progress,
        )


def _print(result: _Demo, *, is_json: bool) -> None:
    found = result.verification
    if is_json:
        print_json(
            {
                **asdict(result.outcome),
                "exit_code": result.exit_code,
                "verified": result.is_verified,
                "records": found.records if found else 0,
                "records_converted": found.records_converted if found else 0,
                "blobs_compared": found.blobs - found.blobs_lost if found else 0,
                "blobs_lost": found.blobs_lost if found else 0,
                "blob_bytes": found.blob_bytes if found else 0,
                "differences": found.differences if found else (),
            }
        )
        return
    outcome = result.outcome
    pairs: list[tuple[str, object]] = [
        ("account", f"{result.account.handle}  {outcome.did}"),
        ("from", result.account.source_pds),
        ("to", result.account.destination_pds),
        ("migration", f"{outcome.token}  {outcome.state}"),
    ]
    if outcome.exit_code == EXIT_WAITING:
        pairs.append(("waiting", waiting_line(outcome)))
    elif outcome.error:
        pairs.append(("error", f"{outcome.error} [{outcome.error_code}]"))
    if found:
        pairs += [
            ("records compared", f"{found.records:,}"),
            *([("records converted", f"{found.records_converted:,}")] if found.records_converted else []),
            ("blobs compared", f"{found.blobs - found.blobs_lost:,}  ({found.blob_bytes:,} bytes)"),
            *([("blobs not to be had", f"{found.blobs_lost:,}")] if found.blobs_lost else []),
            ("differences", f"{len(found.differences):,}"),
            ("verdict", result.verdict),
        ]
    print_pairs("", pairs)
    if outcome.failed_blobs:
        tell(f"Which blobs did not arrive, and why: `.venv/bin/eurosky report {outcome.token}`")
    tell("See this very run in the Dagster UI: run `.venv/bin/eurosky up`, then open")
    tell(f"  http://127.0.0.1:3000/runs/{outcome.run_id}")


def _tell_indented(text: str) -> None:
    tell(f"     {text}")
