"""Seed the sandbox with an account worth migrating: on the source with all it has, on the destination empty.

The account's content comes from `seed_records` and `seed_blobs`; this module brings it to the servers, and has
`damage` spoil what is to be spoilt.
Records with legacy blob references cannot be written through a PDS's front door: they enter by `importRepo`.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pydantic import SecretStr

from eurosky_pipeline.atproto import mst
from eurosky_pipeline.atproto.blob_refs import find_blob_refs
from eurosky_pipeline.atproto.car import write_car
from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.atproto.commit import VOID_SIGNATURE, Commit, encode_commit
from eurosky_pipeline.atproto.repo import RepoFile, open_repo
from eurosky_pipeline.atproto.syntax import next_tid
from eurosky_pipeline.errors import IntegrityError, SettingsError
from eurosky_pipeline.sandbox.damage import DamagedBlob, damage_blobs, plan_damage
from eurosky_pipeline.sandbox.pictures import MIN_BLOB_BYTES
from eurosky_pipeline.sandbox.seed_blobs import (
    MAX_PICTURE_BYTES,
    REPORT_INTERVAL_S,
    UPLOAD_WORKERS,
    plan_blobs,
    upload_blobs,
)
from eurosky_pipeline.sandbox.seed_records import (
    BLOBS_PER_RECORD,
    SeedRecord,
    account_records,
    as_json,
    legacy_posts,
)
from eurosky_pipeline.sandbox.state import SandboxState, ServerState, is_running
from eurosky_pipeline.xrpc import endpoints
from eurosky_pipeline.xrpc.client import UploadBody, XrpcClient, new_http_client
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.session import log_in

Report = Callable[[str], None]

WRITES_PER_BATCH = 200  # the lexicon's limit for applyWrites


@dataclass(frozen=True, slots=True)
class SeededAccount:
    """An account on the source, and the same DID on the destination, created and deactivated.

    Attributes:
        damaged: the blobs that the source does not give as they were.
    """

    did: str
    handle: str
    source_pds: str
    destination_pds: str
    source_password: str = field(repr=False)
    destination_password: str = field(repr=False)
    plc_url: str
    damaged: tuple[DamagedBlob, ...] = ()


def seed(
    state: SandboxState,
    *,
    records: int,
    blobs: int,
    blob_bytes: int,
    legacy: int = 0,
    damaged_blobs: int = 0,
    report: Report,
    seed_name: str = "eurosky",
) -> SeededAccount:
    """Make a new account on the source PDS, fill it, and make the same account, deactivated, on the destination.

    The records are exactly `records`, the distinct blobs exactly `blobs`, every blob named by a record; what is in
    them depends on the arguments alone (and on the DID). `legacy` posts with a picture each come on top of both.

    Args:
        state: a running sandbox.
        records: a profile, posts, replies, likes, reposts, follows; at least 1.
        blobs: pictures, videos and plain files; at most 4 for each record but the profile.
        blob_bytes: mean size; of three or more blobs, one is over 5 MB besides.
        legacy: posts whose picture is named in the legacy form.
        damaged_blobs: how many of `blobs` are spoilt on the source, once all else is there.
        report: is told, in one line each, what is being done.

    Raises:
        SettingsError: an argument is out of range, or the sandbox is not running.
        IntegrityError: the source does not hold what was sent to it.
        The errors of `xrpc.errors`.
    """
    _check_arguments(state, records=records, blobs=blobs, blob_bytes=blob_bytes, legacy=legacy, damaged=damaged_blobs)
    limit_bytes = state.blob_upload_limit_bytes
    plan = plan_blobs(blobs, mean_bytes=blob_bytes, limit_bytes=limit_bytes, seed=f"{seed_name}/blobs")
    blob_facts = [blob.facts() for blob in plan]
    damaged = plan_damage(blob_facts, damaged_blobs, seed_name)
    picture_limit_bytes = min(limit_bytes, MAX_PICTURE_BYTES)
    legacy_plan = plan_blobs(
        legacy,
        mean_bytes=min(blob_bytes, picture_limit_bytes),
        limit_bytes=picture_limit_bytes,
        seed=f"{seed_name}/legacy",
        has_only_pictures=True,
    )
    source_password, destination_password = (SecretStr(secrets.token_hex(16)) for _ in range(2))
    handle = f"seed-{secrets.token_hex(6)}.test"
    email = f"{handle.removesuffix('.test')}@example.com"
    with _client(state, state.source) as source, _client(state, state.destination) as destination:
        report(f"creating the account {handle} on the source")
        did = endpoints.create_account(source, handle=handle, email=email, password=source_password)
        account = source.with_authorization(log_in(source, did, source_password))
        old_posts = legacy_posts(did, [blob.facts() for blob in legacy_plan], seed_name)
        upload_blobs(account, plan, report)
        _write(account, did, account_records(did, records, blob_facts, old_posts, seed_name), report)
        if old_posts:
            _import(account, did, old_posts, report)
            upload_blobs(account, legacy_plan, report)  # after the import: sent before it, they would be lost
            endpoints.apply_writes(account, did, [])  # the import's commit is unsigned: have the source sign anew
        _check_source(account, records + legacy)

        report("creating the same account, deactivated, on the destination")
        audience = endpoints.describe_server(destination).did
        token = endpoints.get_service_auth(account, audience=audience, lxm=endpoints.CREATE_ACCOUNT)
        endpoints.create_account(
            destination, handle=handle, email=email, password=destination_password, did=did, service_auth=token
        )
    damage_blobs(state, did, damaged, report)
    return SeededAccount(
        did=did,
        handle=handle,
        source_pds=state.source_pds,
        destination_pds=state.destination_pds,
        source_password=source_password.get_secret_value(),
        destination_password=destination_password.get_secret_value(),
        plc_url=state.plc_url,
        damaged=damaged,
    )


def _check_arguments(
    state: SandboxState, *, records: int, blobs: int, blob_bytes: int, legacy: int, damaged: int
) -> None:
    limit_bytes, room = state.blob_upload_limit_bytes, BLOBS_PER_RECORD * (records - 1)
    if records < 1:
        raise SettingsError(f"an account needs at least 1 record (its profile), not {records}", hint="ask for more")
    if blobs < 0 or legacy < 0:
        raise SettingsError(f"there cannot be {blobs} blobs, or {legacy} legacy references", hint="ask for 0 or more")
    if not 0 <= damaged <= blobs:
        raise SettingsError(
            f"of {blobs} blobs, {damaged} cannot be damaged",
            hint=f"ask for 0 to {blobs} damaged blobs, or for more blobs (those of legacy references stay whole)",
        )
    if blobs > room:
        raise SettingsError(
            f"{records} records have room for {room} blobs ({BLOBS_PER_RECORD} in each but the profile), not {blobs}",
            hint=f"ask for at least {1 - (-blobs // BLOBS_PER_RECORD)} records, or for fewer blobs",
        )
    if (blobs or legacy) and not MIN_BLOB_BYTES <= blob_bytes <= limit_bytes:
        raise SettingsError(
            f"the mean blob size must be between {MIN_BLOB_BYTES} bytes and the PDSes' upload limit, "
            f"{limit_bytes} bytes, not {blob_bytes}",
            hint="ask for blobs of a size between the two",
        )
    if not is_running(state):
        raise SettingsError("the sandbox is not running", hint="start it: `eurosky sandbox up`")


@contextmanager
def _client(state: SandboxState, server: ServerState) -> Iterator[XrpcClient]:
    """A client that no rate limit stops (they are for the migration to meet), and which asks no other host."""
    keys = state.source_secrets if server is state.source else state.destination_secrets
    policy = HostPolicy(allowed_addresses=frozenset({("localhost", server.port)}))
    with new_http_client(UPLOAD_WORKERS, policy, {"x-ratelimit-bypass": keys.rate_limit_bypass_key}) as http:
        yield XrpcClient(http, server.url)


def _write(client: XrpcClient, did: str, records: Sequence[SeedRecord], report: Report) -> None:
    report(f"writing {len(records)} records")
    done, reported_s = 0, time.monotonic()
    for batch in _batches(records):
        writes = [
            {
                "$type": "com.atproto.repo.applyWrites#create",
                "collection": record.collection,
                "rkey": record.rkey,
                "value": as_json(record.value),
            }
            for record in batch
        ]
        written = endpoints.apply_writes(client, did, writes)
        # strong references to these records were made from our own CIDs, before the host had named its own
        if written != tuple(record.cid for record in batch):
            raise IntegrityError(f"{client.host} wrote records with other CIDs than theirs")
        done += len(batch)
        if time.monotonic() > reported_s + REPORT_INTERVAL_S:
            reported_s = time.monotonic()
            report(f"wrote {done} of {len(records)} records")


def _batches(records: Sequence[SeedRecord]) -> Iterator[list[SeedRecord]]:
    """Batches as large as may be, and none that names a blob in two records.

    The PDS puts the blobs of a batch in place all at once, and one named twice is moved twice: the loser of that race
    may find the file gone, and the whole batch fails.
    """
    batch: list[SeedRecord] = []
    named: set[Cid] = set()
    for record in records:
        blobs = {ref.blob_cid for ref in find_blob_refs(record.value)}
        if len(batch) == WRITES_PER_BATCH or named & blobs:
            yield batch
            batch, named = [], set()
        batch.append(record)
        named |= blobs
    yield batch


def _import(client: XrpcClient, did: str, posts: Sequence[SeedRecord], report: Report) -> None:
    report(f"importing {len(posts)} posts with legacy blob references")
    with tempfile.TemporaryDirectory(prefix="eurosky-seed-") as folder:
        before, after = Path(folder) / "before.car", Path(folder) / "after.car"
        with endpoints.get_repo(client, did) as download, before.open("wb") as file:
            file.writelines(download.chunks)
        with open_repo(before) as repo, after.open("wb") as file:
            _write_repo(file, repo, posts)
        endpoints.import_repo(client, UploadBody(after, after.stat().st_size, endpoints.CAR_MIME_TYPE))


def _write_repo(file: BinaryIO, repo: RepoFile, added: Sequence[SeedRecord]) -> None:
    """Write `repo` with more records as a CAR: the tree built anew, the commit without a signature."""
    kept = dict(repo.keys())
    entries = kept | {record.key: record.cid for record in added}
    nodes: dict[Cid, bytes] = {}
    tree = mst.build(((key.encode(), cid) for key, cid in entries.items()), nodes.__setitem__)
    commit = encode_commit(Commit(repo.commit.did, 3, tree, next_tid(repo.commit.rev), None, VOID_SIGNATURE))
    root = cid_of(commit)

    def blocks() -> Iterator[tuple[bytes, bytes]]:
        yield root, commit
        yield from nodes.items()
        for cid in set(kept.values()):
            yield cid, repo.block(cid)
        for record in added:
            yield record.cid, record.block

    write_car(file, root, blocks())


def _check_source(client: XrpcClient, records: int) -> None:
    """Raises IntegrityError unless the source has every blob that a record names, and as many records as it should."""
    missing = sum(1 for _ in endpoints.list_missing_blobs(client))
    indexed = endpoints.check_account_status(client).indexed_records
    if missing or indexed != records:
        raise IntegrityError(f"{client.host} holds {indexed} of {records} records, and lacks {missing} blobs")
