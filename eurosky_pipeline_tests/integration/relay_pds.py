"""A server between the pipeline and a real PDS: it passes everything on, writes the tokens down, and fails as told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx

from eurosky_pipeline_tests.stub_pds import Answer

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "accept-encoding", "content-length"}


@dataclass(frozen=True)
class Asked:
    """A request as it came; `bearer` is the token in it, empty if there is none."""

    nsid: str
    body: bytes
    bearer: str


Fault = Callable[[Asked], Answer | None]


@dataclass
class RelayPds:
    """A running relay. `faults`, by NSID, may answer in the PDS's place; `tokens` are all that went through."""

    url: str
    faults: dict[str, Fault] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)


@contextmanager
def relay_pds(behind: str) -> Iterator[RelayPds]:
    """Serve what the PDS at `behind` serves, on a free loopback port, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._relay()

        def do_HEAD(self) -> None:
            self._relay()

        def do_POST(self) -> None:
            self._relay()

        def _relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
            nsid = urlsplit(self.path).path.removeprefix("/xrpc/")
            relay.tokens |= {bearer} - {""}
            fault = relay.faults.get(nsid)
            answer = fault(Asked(nsid, body, bearer)) if fault else None
            if answer is not None:
                self._answer(answer.status, {"content-type": answer.content_type, **answer.headers}, answer.body)
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            passed = http.request(self.command, f"{behind}{self.path}", headers=headers, content=body)
            if "json" in passed.headers.get("content-type", "") and isinstance(found := passed.json(), dict):
                relay.tokens |= {found[name] for name in ("accessJwt", "refreshJwt") if name in found}
            kept = {name: value for name, value in passed.headers.items() if name.lower() not in _HOP_BY_HOP}
            self._answer(passed.status_code, kept, passed.content)

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            with suppress(ConnectionError):  # the client may be dead by now
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    relay = RelayPds(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    with httpx.Client(timeout=60, trust_env=False, headers={"accept-encoding": "identity"}) as http:
        thread.start()
        try:
            yield relay
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def refusal(status: int, name: str, message: str) -> Answer:
    """An error as XRPC has it."""
    return Answer(json.dumps({"error": name, "message": message}).encode(), status)
