"""How long it takes to ask a source for the sizes of blobs, where each answer takes its time."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

from benchmarks.chance import Chance
from benchmarks.repository import DID
from eurosky_pipeline.convert.blob_sizes import fetch_blob_sizes
from eurosky_pipeline.xrpc.client import XrpcClient, new_http_client
from eurosky_pipeline.xrpc.host_policy import HostPolicy

_LIMIT = 3000
_WINDOW_S = 300


def fetch_wall_s(blobs: int, *, answer_s: float, workers: int = 5) -> float:
    """Seconds until all sizes are there, connecting included, from a server that takes `answer_s` for each answer.

    Raises RuntimeError if one is missing.
    """
    chance = Chance(1)
    cids = [chance.blob_cid() for _ in range(blobs)]
    with _slow_source(answer_s) as url, new_http_client(workers, HostPolicy(is_private_allowed=True)) as http:
        start = time.monotonic()
        found = fetch_blob_sizes(XrpcClient(http, url), DID, cids, workers=workers, stop=threading.Event())
        taken_s = time.monotonic() - start
    if len(found.sizes) != blobs:
        raise RuntimeError(f"{blobs - len(found.sizes)} sizes are missing")
    return taken_s


@contextmanager
def _slow_source(answer_s: float) -> Iterator[str]:
    """A loopback server that tells the size of every blob, and its rate limit as the reference PDS does; its URL."""
    asked = count(1)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            time.sleep(answer_s)
            self.send_response(200)
            self.send_header("content-type", "image/jpeg")
            self.send_header("content-length", "12345")
            self.send_header("ratelimit-limit", str(_LIMIT))
            self.send_header("ratelimit-remaining", str(_LIMIT - next(asked)))
            self.send_header("ratelimit-reset", str(int(time.time()) + _WINDOW_S))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """The benchmark prints its table only."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
