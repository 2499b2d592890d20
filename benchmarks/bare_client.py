"""The least that a client can do between two servers: how fast they are, whoever asks.

Each worker has one connection to either side, sends requests that are bytes already, and looks at nothing that it gets
but its length: no hash, no file, no ledger, no retry. What it cannot reach on a machine, no engine can.
"""

import socket
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from urllib.parse import urlsplit

from benchmarks.blob_runs import Taken, WrongResultError
from eurosky_pipeline.atproto.cid import Cid

_READ_BYTES = 256 * 1024


def move_barely(source: str, destination: str, did: str, access_token: str, cids: Sequence[Cid], workers: int) -> Taken:
    """Get each blob and upload it. Raises WrongResultError unless every answer was a success."""
    queue: SimpleQueue[Cid] = SimpleQueue()
    for cid in cids:
        queue.put(cid)
    moved: list[Cid] = []

    def work() -> None:
        down, up = _connect(source), _connect(destination)
        with down, up:
            while True:
                try:
                    cid = queue.get_nowait()
                except Empty:
                    return
                head = f"GET /xrpc/com.atproto.sync.getBlob?did={did}&cid={cid} HTTP/1.1\r\nHost: pds\r\n\r\n"
                blob = _answer(down, head.encode())
                head = (
                    "POST /xrpc/com.atproto.repo.uploadBlob HTTP/1.1\r\nHost: pds\r\nContent-Type: image/jpeg\r\n"
                    f"Content-Length: {len(blob)}\r\nAuthorization: Bearer {access_token}\r\n\r\n"
                )
                _answer(up, head.encode() + blob)
                moved.append(cid)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    begun_s, begun_cpu_s = time.monotonic(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = Taken(time.monotonic() - begun_s, time.process_time() - begun_cpu_s)
    if len(moved) != len(cids):
        raise WrongResultError(f"the bare client moved {len(moved)} of {len(cids)} blobs")
    return taken


def _connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    found = socket.create_connection((parts.hostname, parts.port or 80))
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found


def _answer(connection: socket.socket, request: bytes) -> bytes:
    connection.sendall(request)
    raw = b""
    while b"\r\n\r\n" not in raw:
        raw += _some(connection)
    head, _, body = raw.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise WrongResultError(f"the server answered {head[:20]!r}")
    name = b"\r\ncontent-length:"
    length = int(head.lower().partition(name)[2].partition(b"\r\n")[0])
    pieces, left = [body], length - len(body)
    while left:
        pieces.append(_some(connection))
        left -= len(pieces[-1])
    return b"".join(pieces)


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(_READ_BYTES)
    if not data:
        raise WrongResultError("the server hung up")
    return data
