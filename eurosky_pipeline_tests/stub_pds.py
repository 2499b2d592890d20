"""A server that answers as it is told: for faults that no honest server commits."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Answer:
    """What is sent: `announced_bytes`, if given, is a Content-Length that the body does not keep; `headers` are further
    ones, which a relay sends."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    announced_bytes: int | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, value: object, status: int = 200) -> Answer:
        return cls(json.dumps(value).encode(), status)


Route = Callable[[dict[str, str]], Answer]


@dataclass
class StubPds:
    """A running stub: endpoints are NSIDs; what is not there answers 404."""

    url: str
    routes: dict[str, Route] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextmanager
def stub_pds() -> Iterator[StubPds]:
    """Serve on a free loopback port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes: the second would wait for an ACK, 40 ms

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self._answer()

        def _answer(self) -> None:
            parts = urlsplit(self.path)
            nsid = parts.path.removeprefix("/xrpc/")
            stub.asked.append(nsid)
            parameters = {name: values[0] for name, values in parse_qs(parts.query).items()}
            route = stub.routes.get(nsid, lambda _: Answer.of_json({"error": "MethodNotImplemented"}, 501))
            answer = route(parameters)
            announced = len(answer.body) if answer.announced_bytes is None else answer.announced_bytes
            self.send_response(answer.status)
            self.send_header("content-type", answer.content_type)
            self.send_header("content-length", str(announced))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
                self.close_connection = announced != len(answer.body)

        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub = StubPds(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
