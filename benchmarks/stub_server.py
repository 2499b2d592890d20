"""A server with blobs to give and a place for them to go, in a process of its own: `python -m benchmarks.stub_server`.

It speaks as much of the protocol as a transfer asks for, makes bytes up as it sends them, compares those that arrive
with what they should be, and keeps none. It prints its URL, and ends when its standard input does.
"""

import argparse
import json
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from benchmarks.made_blobs import MIME_TYPE, PIECE_BYTES, Arrival, MadeBlobs

COUNTS = "/counts"


class Hold:
    """The blobs that the server can give, and those that it was given."""

    def __init__(self, blobs: MadeBlobs) -> None:
        self.blobs = blobs
        self._cids = [str(cid) for cid in blobs.cids()]
        self.numbers = {cid: number for number, cid in enumerate(self._cids)}
        self._sorted = sorted(self._cids)
        self._lock = threading.Lock()
        self._arrived: set[str] = set()
        self._uploads = self._wrong = self._received_bytes = 0

    def received(self, count: int) -> None:
        with self._lock:
            self._received_bytes += count

    def stored(self, number: int | None) -> str | None:
        """Note that a body has come to its end. Returns: its CID, None if it was not right."""
        cid = None if number is None else self._cids[number]
        with self._lock:
            self._uploads += 1
            self._wrong += cid is None
            self._arrived |= {cid} if cid else set()
        return cid

    def counts(self) -> dict[str, int]:
        with self._lock:
            return {
                "uploads": self._uploads,
                "arrived": len(self._arrived),
                "wrong": self._wrong,
                "received_bytes": self._received_bytes,
            }

    def page(self, parameters: dict[str, str], *, is_missing_only: bool) -> Sequence[str]:
        """CIDs, in their order, that follow upon the cursor."""
        start, limit = bisect_right(self._sorted, parameters.get("cursor", "")), int(parameters.get("limit", 500))
        if not is_missing_only:
            return self._sorted[start : start + limit]
        found: list[str] = []
        with self._lock:
            for cid in self._sorted[start:]:
                if cid not in self._arrived:
                    found.append(cid)
                if len(found) == limit:
                    break
        return found


class Handler(BaseHTTPRequestHandler):
    """Each connection has a thread, so that one request's delay is nobody else's."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rbufsize = PIECE_BYTES
    hold: ClassVar[Hold]
    delay_s: ClassVar[float]

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        parameters = {name: values[0] for name, values in parse_qs(parts.query).items()}
        nsid = parts.path.removeprefix("/xrpc/")
        if parts.path == COUNTS:
            self._send_json(self.hold.counts())
        elif nsid == "com.atproto.sync.getBlob":
            self._give_blob(parameters)
        elif nsid == "com.atproto.repo.uploadBlob":
            self._take_blob()
        else:
            list(self._body())
            time.sleep(self.delay_s)
            value = self._value(nsid, parameters)
            self._send_json(value or {"error": "MethodNotImplemented"}, 200 if value else 501)

    def _value(self, nsid: str, parameters: dict[str, str]) -> dict[str, Any] | None:
        if nsid == "com.atproto.sync.listBlobs":
            cids = self.hold.page(parameters, is_missing_only=False)
            return {"cids": cids, **_cursor(cids)}
        if nsid == "com.atproto.repo.listMissingBlobs":
            cids = self.hold.page(parameters, is_missing_only=True)
            uri = "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.post/3jzfcijpj2z2a"
            return {"blobs": [{"cid": cid, "recordUri": uri} for cid in cids], **_cursor(cids)}
        if nsid == "com.atproto.server.describeServer":
            return {"did": f"did:web:localhost%3A{self.server.server_address[1]}", "availableUserDomains": []}
        return None

    def _give_blob(self, parameters: dict[str, str]) -> None:
        time.sleep(self.delay_s)
        number = self.hold.numbers.get(parameters.get("cid", ""))
        if number is None:
            self._send_json({"error": "InvalidRequest", "message": "Blob not found"}, 400)
            return
        self._send_head(200, MIME_TYPE, self.hold.blobs.size_bytes)
        if self.command != "HEAD":
            for piece in self.hold.blobs.pieces(number):
                self.connection.sendall(piece)

    def _take_blob(self) -> None:
        arrival = Arrival(self.hold.blobs)
        for piece in self._body():
            arrival.take(piece)
            self.hold.received(len(piece))
        cid = self.hold.stored(arrival.number())
        time.sleep(self.delay_s)
        if cid is None:
            self._send_json({"error": "InvalidRequest", "message": "these bytes are none of the blobs"}, 400)
            return
        blob = {"$type": "blob", "ref": {"$link": cid}, "mimeType": MIME_TYPE, "size": self.hold.blobs.size_bytes}
        self._send_json({"blob": blob})

    def _body(self) -> Iterator[memoryview]:
        """What was sent, by its length or in chunks."""
        if "chunked" in self.headers.get("transfer-encoding", ""):
            while length := int(self.rfile.readline(), 16):
                yield from self._read(length)
                self.rfile.readline()
            self.rfile.readline()
        else:
            yield from self._read(int(self.headers.get("content-length", 0)))

    def _read(self, length: int) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(min(length, PIECE_BYTES)))
        while length:
            count = self.rfile.readinto1(buffer[: min(length, PIECE_BYTES)])
            if not count:
                raise ConnectionError("the body was cut short")
            yield buffer[:count]
            length -= count

    def _send_json(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self._send_head(status, "application/json", len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_head(self, status: int, content_type: str, length: int) -> None:
        self.send_response_only(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(length))
        self.end_headers()

    def handle(self) -> None:
        with suppress(ConnectionError):  # a client may be killed: that is what one of the measurements is about
            super().handle()

    def log_message(self, *_: object) -> None:
        """The benchmark prints its table only."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # so that no worker's first connection is made to wait


def _cursor(cids: Sequence[str]) -> dict[str, str]:
    return {"cursor": cids[-1]} if cids else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blobs", type=int, required=True)
    parser.add_argument("--blob-bytes", type=int, required=True)
    parser.add_argument("--delay-s", type=float, default=0.0, help="between the end of a request and its answer")
    options = parser.parse_args()

    Handler.hold, Handler.delay_s = Hold(MadeBlobs(options.blobs, options.blob_bytes)), options.delay_s
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
