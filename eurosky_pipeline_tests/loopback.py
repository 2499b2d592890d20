"""A server of raw bytes on loopback, plain or with TLS: for what no HTTP library would send."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Handler = Callable[[socket.socket], None]


class Served:
    """A running server; `connections` counts those that were accepted."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.connections = 0
        self.current: socket.socket | None = None


@contextmanager
def serving(handler: Handler) -> Iterator[Served]:
    """Call `handler` with each connection, one at a time; a client that hangs up in the middle is no error."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = Served(server.getsockname()[1])

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                found.connections += 1
                found.current = connection
                with connection, suppress(OSError):
                    connection.settimeout(10)
                    handler(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown(socket.SHUT_RDWR)
            with suppress(OSError):  # the client may keep its end open for longer than the test lasts
                if found.current is not None:
                    found.current.shutdown(socket.SHUT_RDWR)
            thread.join(15)
            assert not thread.is_alive(), "a handler did not end"


def read_head(connection: socket.socket) -> str:
    """A request's head, in lower case; empty when the client has hung up instead."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        piece = connection.recv(65536)
        if not piece:
            return ""
        raw += piece
    return raw.partition(b"\r\n\r\n")[0].decode().lower()


def server_tls(folder: Path, name: str) -> ssl.SSLContext:
    """A server's side of TLS with a new certificate for `name`; who trusts `folder / "ca.pem"` trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "ca.pem").write_bytes(pem)
    (folder / "server.pem").write_bytes(pem + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context
