"""Accounts whose blobs are to move: on two real PDSes, and as a repository that only refers to them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from benchmarks.block_spool import BlockSpool
from benchmarks.chance import Chance, images
from benchmarks.document import tell
from benchmarks.made_blobs import MIME_TYPE, MadeBlobs
from benchmarks.repository import add_commit
from eurosky_pipeline.atproto import mst
from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.sandbox.network import down, up
from eurosky_pipeline.sandbox.seed import SeededAccount, seed
from eurosky_pipeline.sandbox.state import SandboxState, allowed_addresses
from eurosky_pipeline.xrpc import endpoints
from eurosky_pipeline.xrpc.client import UploadBody, XrpcClient, new_http_client
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.session import log_in
from eurosky_pipeline.xrpc.workers import run_workers

_RECORDS_PER_BLOB = 0.3
_CHECKERS = 5


@contextmanager
def two_servers(home: Path) -> Iterator[SandboxState]:
    """A sandbox of its own, gone with the block."""
    try:
        yield up(home, report=tell)
    finally:
        down(home, report=tell, erase=True)


def account_to_move(home: Path, state: SandboxState, blobs: int, blob_bytes: int, name: str) -> SeededAccount:
    """A new account with its blobs at the source, and its repository, without them, at the destination."""
    records = 2 + int(blobs * _RECORDS_PER_BLOB)
    account = seed(state, records=records, blobs=blobs, blob_bytes=blob_bytes, report=tell, seed_name=name)
    car = home / f"{name}.car"
    with _client(home, account.source_pds) as source, _destination(home, account) as destination:
        with endpoints.get_repo(source, account.did) as download, car.open("wb") as file:
            file.writelines(download.chunks)
        endpoints.import_repo(destination, UploadBody(car, car.stat().st_size, endpoints.CAR_MIME_TYPE))
    return account


def listed_and_logged_in(home: Path, account: SeededAccount) -> tuple[list[Cid], str]:
    """The blobs that the source lists, and an access token for the destination."""
    with _client(home, account.source_pds) as source, _client(home, account.destination_pds) as destination:
        session = log_in(destination, account.did, SecretStr(account.destination_password))
        return list(endpoints.list_blobs(source, account.did)), session.access_token()


def count_arrived(home: Path, account: SeededAccount) -> int:
    """How many blobs the destination gives out, each read and hashed; 0 if it lists one as missing."""

    def is_right(cid: Cid) -> bool:
        with endpoints.get_blob(destination, account.did, cid) as download:
            return cid_of(b"".join(download.chunks), cid.codec) == cid

    with _client(home, account.source_pds) as source, _destination(home, account) as destination:
        if any(endpoints.list_missing_blobs(destination)):
            return 0
        listed = endpoints.list_blobs(source, account.did)
        return sum(run_workers(listed, is_right, workers=_CHECKERS, stop=threading.Event()))


def write_repository_of(blobs: MadeBlobs, path: Path) -> None:
    """Write a repository in which each blob stands in a post of its own."""
    chance = Chance(1)
    entries: list[tuple[bytes, Cid]] = []
    with BlockSpool(path.parent) as spool:
        for number, cid in enumerate(blobs.cids()):
            picture = {"$type": "blob", "ref": cid, "mimeType": MIME_TYPE, "size": blobs.size_bytes}
            post = {"$type": "app.bsky.feed.post", "createdAt": chance.date(), "text": "", "embed": images([picture])}
            block_cid, _ = spool.add_value(post)
            entries.append((f"app.bsky.feed.post/{chance.rkey(number)}".encode(), block_cid))
        spool.write(path, add_commit(spool, mst.build(entries, spool.add), rev=1))


@contextmanager
def _client(home: Path, url: str) -> Iterator[XrpcClient]:
    with new_http_client(_CHECKERS, HostPolicy(allowed_addresses=allowed_addresses(home))) as http:
        yield XrpcClient(http, url)


@contextmanager
def _destination(home: Path, account: SeededAccount) -> Iterator[XrpcClient]:
    """With the account's session."""
    with _client(home, account.destination_pds) as public:
        yield public.with_authorization(log_in(public, account.did, SecretStr(account.destination_password)))
