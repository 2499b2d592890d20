"""What the proxy does with one request: pass it on, or commit the fault that a rule has for it.

What a fault does to a body (where it is cut, which byte is wrong) follows from the seed and the request's number; which
blob the n-th request is for, the threads of whoever asks decide.
"""

from __future__ import annotations

import hashlib
import http.client
import random
import re
import socket
import struct
import tempfile
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from eurosky_pipeline.atproto.cid import RAW_PREFIX, Cid
from eurosky_pipeline_tests.faults.record import GET_BLOB, UPLOAD_BLOB, Passed
from eurosky_pipeline_tests.faults.rules import ON_THE_ANSWER, Fault, Rule, refusal_of

if TYPE_CHECKING:
    from eurosky_pipeline_tests.faults.proxy import FaultProxy

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host"}
_PIECE_BYTES = 64 * 1024
_UPSTREAM_TIMEOUT_S = 120.0
_STEP_S = 0.1
_LINK = re.compile(rb'("\$link":")([a-z2-7]{59})(")')


class _Reset(Exception):
    """Break the connection off, here and now."""


class Handler(BaseHTTPRequestHandler):
    """One connection; `server` is the proxy."""

    protocol_version = "HTTP/1.1"
    server: FaultProxy  # type: ignore[assignment]

    def do_GET(self) -> None:
        self._pass()

    def do_HEAD(self) -> None:
        self._pass()

    def do_POST(self) -> None:
        self._pass()

    def log_message(self, *_: object) -> None:
        """The record says it all."""

    def _pass(self) -> None:
        parts = urlsplit(self.path)
        nsid, proxy = parts.path.removeprefix("/xrpc/"), self.server
        self._said = Passed(self.command, nsid, Fault.NONE)
        number = proxy.number(self.command, nsid)
        self._chance = random.Random(f"{proxy.seed}/{self.command}/{nsid}/{number}")
        asked = parse_qs(parts.query).get("cid", [None])[0]
        rule = self._rule(number, asked)
        self._note(blob_cid=asked if nsid == GET_BLOB else None, fault=rule.fault)
        try:
            with tempfile.SpooledTemporaryFile(16 * 1024 * 1024) as body:
                self._take(body, rule)
                if nsid == UPLOAD_BLOB and rule.fault is Fault.NONE:
                    rule = self._rule(0, self._said.blob_cid)  # of which blob it is, only the body tells
                    self._note(fault=rule.fault)
                self._answer_by(rule, body)
        except _Reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
        except (OSError, http.client.HTTPException):
            self.close_connection = True
        finally:
            proxy.record.add(self._said)

    def _rule(self, number: int, blob_cid: str | None) -> Rule:
        nsid = self._said.nsid
        found = (rule for rule in list(self.server.rules) if rule.befalls(self.command, nsid, number, blob_cid))
        return next(found, Rule(Fault.NONE, nsid))

    def _note(self, **values: Any) -> None:
        self._said = replace(self._said, **values)

    def _take(self, body: IO[bytes], rule: Rule) -> None:
        """The request's body, hashed on its way."""
        announced, digest = int(self.headers.get("content-length", 0)), hashlib.sha256()
        limit = announced // 2 if rule.fault is Fault.RESET_UP else announced
        is_slow = rule.fault is Fault.DRIP and announced > 0
        step = max(1, int(rule.bytes_per_s / 4)) if is_slow else _PIECE_BYTES
        while self._said.bytes_up < limit:
            piece = self.rfile.read(min(step, limit - self._said.bytes_up))
            if not piece:
                raise ConnectionError("the client has hung up")
            digest.update(piece)
            body.write(piece)
            self._note(bytes_up=self._said.bytes_up + len(piece))
            if is_slow:
                self._wait(0.25)
        if rule.fault is Fault.RESET_UP:
            raise _Reset
        if self._said.nsid == UPLOAD_BLOB:
            self._note(blob_cid=str(Cid(RAW_PREFIX + digest.digest())))
        body.seek(0)

    def _answer_by(self, rule: Rule, body: IO[bytes]) -> None:
        if self.server.latency_s:
            self._wait(self.server.latency_s)
        refusal = refusal_of(rule)
        if refusal is not None:
            self._send(refusal.status, list(refusal.headers.items()), refusal.body, len(refusal.body))
            return
        if rule.fault is Fault.REFUSED:
            self.server.shut_door(rule.seconds)
            raise _Reset
        if rule.fault in (Fault.STALL, Fault.LATENCY):
            self._wait(rule.seconds, rule)
        if rule.fault in (Fault.RESET_BEFORE, Fault.STALL):
            raise _Reset
        self._forward(rule, body)

    def _forward(self, rule: Rule, body: IO[bytes]) -> None:
        upstream = http.client.HTTPConnection(*self.server.upstream, timeout=_UPSTREAM_TIMEOUT_S)
        try:
            upstream.putrequest(self.command, self.path, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    upstream.putheader(name, value)
            upstream.endheaders()
            while piece := body.read(_PIECE_BYTES):
                upstream.send(piece)
            answer = upstream.getresponse()
            self._note(status=answer.status)
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP]
            if rule.fault in ON_THE_ANSWER and self.command != "HEAD":
                self._spoil(rule, answer.status, headers, answer.read())
            else:
                self._stream(answer, headers)
        finally:
            upstream.close()

    def _stream(self, answer: http.client.HTTPResponse, headers: list[tuple[str, str]]) -> None:
        is_chunked = answer.getheader("content-length") is None and answer.status not in (204, 304)
        self._head(answer.status, [*headers, *([("transfer-encoding", "chunked")] if is_chunked else [])])
        if self.command != "HEAD":
            while piece := answer.read1(_PIECE_BYTES):
                self._write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece, len(piece))
            if is_chunked:
                self._write(b"0\r\n\r\n", 0)
        self._note(is_answered=True)

    def _spoil(self, rule: Rule, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        kept, fault, whole = [(n, v) for n, v in headers if n.lower() != "content-length"], rule.fault, len(body)
        if fault is Fault.RESET_STORED:
            raise _Reset
        if fault in (Fault.RESET_DOWN, Fault.CUT_SHORT):
            self._send(status, kept, body[: self._chance.randrange(whole)] if whole else b"", whole, is_last=True)
            if fault is Fault.RESET_DOWN:
                raise _Reset
        elif fault is Fault.SHORTER:
            shorter = body[: self._chance.randrange(whole)] if whole else b""
            self._send(status, kept, shorter, len(shorter))
        elif fault in (Fault.PADDED, Fault.OVERLONG):
            longer = body + self._chance.randbytes(1 + self._chance.randrange(1000))
            self._send(status, kept, longer, len(longer) if fault is Fault.PADDED else whole, is_last=True)
        elif fault is Fault.WRONG_BYTES:
            self._send(status, kept, self._with_a_wrong_byte(body), whole)
        elif fault is Fault.WRONG_CID:
            other = str(Cid(RAW_PREFIX + self._chance.randbytes(32))).encode()
            body = _LINK.sub(rb"\g<1>" + other + rb"\g<3>", body)
            self._send(status, kept, body, len(body))
        else:
            self._send(status, kept, body, whole, bytes_per_s=rule.bytes_per_s)

    def _with_a_wrong_byte(self, body: bytes) -> bytes:
        if not body:
            return body
        at = self._chance.randrange(len(body))
        return body[:at] + bytes([body[at] ^ (1 << self._chance.randrange(7))]) + body[at + 1 :]

    def _send(
        self,
        status: int,
        headers: list[tuple[str, str]],
        body: bytes,
        announced: int,
        *,
        is_last: bool = False,
        bytes_per_s: float = 0.0,
    ) -> None:
        self._head(status, [*headers, ("content-length", str(announced))])
        step = max(1, int(bytes_per_s / 4)) if bytes_per_s else _PIECE_BYTES
        for start in range(0, len(body), step):
            piece = body[start : start + step]
            self._write(piece, len(piece))
            if bytes_per_s:
                self._wait(0.25)
        self._note(is_answered=len(body) >= announced)
        self.close_connection = self.close_connection or is_last

    def _head(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def _write(self, data: bytes, body_bytes: int) -> None:
        self.wfile.write(data)
        self._note(bytes_down=self._said.bytes_down + body_bytes)

    def _wait(self, seconds: float, rule: Rule | None = None) -> None:
        """As long as somebody waits for the answer, and no longer than its rule, if there is one, holds."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            if self.server.closing.wait(min(left_s, _STEP_S)) or _has_hung_up(self.connection):
                raise ConnectionError("nobody waits for this answer any more")
            if rule is not None and rule not in self.server.rules:
                return


def _has_hung_up(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
