"""A PDS behind `httpx.MockTransport`: for faults that no real server commits on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.xrpc.client import XrpcClient

Fault = Callable[[httpx.Request], httpx.Response | None]


def json_answer(value: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, content=iter([json.dumps(value).encode()]))


def body_answer(body: bytes, mime_type: str = "application/octet-stream") -> httpx.Response:
    return httpx.Response(200, headers={"content-type": mime_type}, content=iter([body[:3], body[3:]]))


@dataclass
class FakePds:
    """One server with one account; `faults` by endpoint may answer in its place (None: no fault this time)."""

    name: str = "pds.example"
    blobs: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    repo: bytes = b""
    is_active: bool = False
    missing: list[str] = field(default_factory=list)
    commit: str | None = None
    faults: dict[str, Fault] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    @property
    def client(self) -> XrpcClient:
        return XrpcClient(httpx.Client(transport=httpx.MockTransport(self.answer)), f"https://{self.name}")

    def put(self, data: bytes, mime_type: str = "image/png") -> Cid:
        cid = cid_of(data, CODEC_RAW)
        self.blobs[str(cid)] = (data, mime_type)
        return cid

    def answer(self, request: httpx.Request) -> httpx.Response:
        endpoint = request.url.path.rpartition(".")[2]
        with self._lock:
            self.asked.append(endpoint)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            fault = self.faults.get(endpoint)
            return (fault(request) if fault else None) or getattr(self, f"_{endpoint}")(request)
        finally:
            with self._lock:
                self.under_way -= 1

    def _getBlob(self, request: httpx.Request) -> httpx.Response:
        found = self.blobs.get(request.url.params["cid"])
        if found is None:
            return json_answer({"error": "InvalidRequest", "message": "Blob not found"}, 400)
        return body_answer(*found)

    def _uploadBlob(self, request: httpx.Request) -> httpx.Response:
        data, mime_type = request.read(), request.headers["content-type"]
        assert int(request.headers["content-length"]) == len(data)
        cid = self.put(data, mime_type)
        return json_answer(
            {"blob": {"$type": "blob", "ref": {"$link": str(cid)}, "mimeType": mime_type, "size": len(data)}}
        )

    def _getRepo(self, _: httpx.Request) -> httpx.Response:
        return body_answer(self.repo, "application/vnd.ipld.car")

    def _importRepo(self, request: httpx.Request) -> httpx.Response:
        self.repo = request.read()
        assert int(request.headers["content-length"]) == len(self.repo)
        return json_answer({})

    def _checkAccountStatus(self, _: httpx.Request) -> httpx.Response:
        return json_answer({"activated": self.is_active, "repoCommit": self.commit, "expectedBlobs": 0})

    def _describeServer(self, _: httpx.Request) -> httpx.Response:
        return json_answer({"did": f"did:web:{self.name}", "availableUserDomains": []})

    def _listMissingBlobs(self, _: httpx.Request) -> httpx.Response:
        return json_answer({"blobs": [{"cid": cid, "recordUri": "at://x/y/z"} for cid in self.missing]})
