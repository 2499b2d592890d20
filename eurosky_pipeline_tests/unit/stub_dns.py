"""A name server on loopback, UDP and TCP, that answers as it is told."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset

Reply = Callable[[dns.message.Message], bytes | None]


@dataclass
class StubDns:
    """A running name server. `records` are TXT strings by name, as a zone file quotes them; a name that is not there
    does not exist. A `reply` by name stands in for it: the bytes to send over UDP, or None for silence."""

    resolver: dns.resolver.Resolver
    records: dict[str, list[str]] = field(default_factory=dict)
    replies: dict[str, Reply] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        name = query.question[0].name.to_text(omit_final_dot=True)
        response = dns.message.make_response(query)
        if name not in self.records:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif self.records[name]:
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "TXT", *self.records[name]))
        return response

    def udp(self, raw: bytes) -> bytes | None:
        query = dns.message.from_wire(raw)
        name = query.question[0].name.to_text(omit_final_dot=True)
        self.asked.append(name)
        if name in self.replies:
            return self.replies[name](query)
        whole = self.answer(query).to_wire()
        return whole if len(whole) <= 512 else cut(query)

    def tcp(self, raw: bytes) -> bytes:
        return self.answer(dns.message.from_wire(raw)).to_wire()


def cut(query: dns.message.Message) -> bytes:
    """`Ask again over TCP`, with no answer in it."""
    response = dns.message.make_response(query)
    response.flags |= dns.flags.TC
    return response.to_wire()


@contextmanager
def stub_dns() -> Iterator[StubDns]:
    """Serve on a free loopback port until the block ends; `resolver` asks there and nowhere else."""

    class Udp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            raw, channel = self.request
            reply = stub.udp(raw)
            if reply is not None:
                channel.sendto(reply, self.client_address)

    class Tcp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            size = int.from_bytes(self.rfile.read(2), "big")
            reply = stub.tcp(self.rfile.read(size))
            self.wfile.write(len(reply).to_bytes(2, "big") + reply)

    resolver = dns.resolver.Resolver(configure=False)
    stub = StubDns(resolver)
    with ExitStack() as stack:
        udp, tcp, port = _on_one_port(Udp, Tcp)
        stack.enter_context(udp)
        stack.enter_context(tcp)
        resolver.nameservers, resolver.port = ["127.0.0.1"], port
        for server in (udp, tcp):
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            stack.callback(server.shutdown)
        yield stub


def _on_one_port(
    udp: type[socketserver.BaseRequestHandler], tcp: type[socketserver.BaseRequestHandler]
) -> tuple[socketserver.ThreadingUDPServer, socketserver.ThreadingTCPServer, int]:
    """What is free for UDP may be taken for TCP: then another one is tried."""
    for _ in range(20):
        first = socketserver.ThreadingUDPServer(("127.0.0.1", 0), udp)
        port = first.server_address[1]
        try:
            return first, socketserver.ThreadingTCPServer(("127.0.0.1", port), tcp), port
        except OSError:
            first.server_close()
    raise RuntimeError("no port is free for both")
