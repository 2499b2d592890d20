"""A source that tells the sizes of its blobs, and the question for many of them, with retries that take no time."""

from __future__ import annotations

import threading

import httpx

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.convert.blob_sizes import BlobSizes, fetch_blob_sizes
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.retry import RetryPolicy
from eurosky_pipeline_tests.fake_pds import FakePds

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
SOON = RetryPolicy(first_wait_s=0.01, first_rate_limited_wait_s=0.01)


def fetch(source: FakePds | XrpcClient, cids: list[Cid], **arguments: object) -> BlobSizes:
    client = source.client if isinstance(source, FakePds) else source
    return fetch_blob_sizes(client, DID, cids, **{"stop": threading.Event(), "retry": SOON, **arguments})


def blobs(source: FakePds, count: int) -> list[Cid]:
    """So many blobs of 1, 2, 3 … bytes, and a source that tells their sizes."""
    cids = [source.put(bytes(number)) for number in range(1, count + 1)]
    source.faults["getBlob"] = lambda request: size_told(source, request)
    return cids


def size_told(source: FakePds, request: httpx.Request) -> httpx.Response | None:
    found = source.blobs.get(request.url.params["cid"])
    return found and httpx.Response(200, headers={"content-length": str(len(found[0]))}, content=iter([]))


def sizes_of(cids: list[Cid]) -> dict[Cid, int]:
    return {cid: number for number, cid in enumerate(cids, 1)}
