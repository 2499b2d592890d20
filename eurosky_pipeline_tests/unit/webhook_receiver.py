"""A receiver of webhooks on loopback, that answers as it is told."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Receiver:
    """What has come, and what it gets: the answers in `statuses` first, then 200. `headers` go with each answer;
    `was_read` says of each whether it could be written to its end."""

    url: str
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    answer: bytes = b"thanks"
    silence_s: float = 0.0
    was_read: queue.SimpleQueue[bool] = field(default_factory=queue.SimpleQueue)


@contextmanager
def webhook_receiver() -> Iterator[Receiver]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
            time.sleep(receiver.silence_s)
            self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
            for name, value in {"content-length": str(len(receiver.answer)), **receiver.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(receiver.answer)
                receiver.was_read.put(True)
            except OSError:
                receiver.was_read.put(False)

        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/in?key=hidden-in-the-address")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
