"""The XRPC client over a transport that answers from memory: JSON, bounds, redirects, and the one renewal."""

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from eurosky_pipeline.xrpc.client import MAX_JSON_BYTES, UploadBody, XrpcClient
from eurosky_pipeline.xrpc.errors import AnswerInvalid, AuthError, RequestRefused, ServerFault

NSID = "com.example.some.method"
HOST = "pds.example"
Handler = Callable[[httpx.Request], httpx.Response]


def answer(body: object = None, status: int = 200, headers: dict[str, str] | None = None) -> httpx.Response:
    """An answer as it comes from the network: its body is still to be read. Bytes are sent as they are."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.Response(status, headers=headers, content=iter([raw]))


def client_of(handler: Handler) -> XrpcClient:
    return XrpcClient(httpx.Client(transport=httpx.MockTransport(handler)), f"https://{HOST}")


class Tokens:
    """An authorization that counts how often it was renewed."""

    def __init__(self) -> None:
        self.stale: list[str] = []

    def access_token(self) -> str:
        return f"token-{len(self.stale)}"

    def secrets(self) -> tuple[str, ...]:
        return ("the-refresh-token",)

    def renew(self, stale_token: str | None, stop: threading.Event) -> None:
        self.stale.append(stale_token)

    def is_doubtful(self, token: str) -> bool:
        return False


def test_a_query_is_a_get_with_its_parameters() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert (request.method, str(request.url)) == ("GET", f"https://{HOST}/xrpc/{NSID}?did=did%3Aweb%3Aa&limit=5")
        assert request.content == b""
        return answer({"a": ["ü", 1]})

    assert client_of(handle).query(NSID, {"did": "did:web:a", "limit": 5}) == {"a": ["ü", 1]}


def test_a_procedure_posts_json_and_reads_json() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.headers["content-type"]) == ("POST", "application/json")
        return answer({"heard": json.loads(request.content)})

    assert client_of(handle).procedure(NSID, {"a": "ü"}) == {"heard": {"a": "ü"}}


def test_a_procedure_without_a_body_sends_none() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert request.content == b""
        assert "content-type" not in request.headers
        return answer(b"")

    assert client_of(handle).procedure(NSID) == {}


def test_a_secret_is_sent_as_its_text_and_not_repeated_when_the_host_repeats_it() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        return answer({"error": "Bad", "message": f"no: {request.content.decode()}"}, 400)

    with pytest.raises(RequestRefused) as caught:
        client_of(handle).procedure(NSID, {"name": "alice", "password": SecretStr("hunter2")})
    assert '"name":"alice","password":"…"' in caught.value.message.replace(" ", "")


@pytest.mark.parametrize(
    "raw",
    [b"<html>", b"[1]", b"7", b'{"a":', b"\xff", b"[" * 100_000, b'{"a":' + b"9" * 5000 + b"}"],
    ids=["html", "list", "number", "cut", "not text", "deep", "number too long"],
)
def test_what_is_no_json_object_is_no_answer(raw: bytes) -> None:
    with pytest.raises(AnswerInvalid, match="something that is not a JSON object") as caught:
        client_of(lambda _: answer(raw)).query(NSID)
    assert HOST in caught.value.hint


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_without_end_is_not_read_to_its_end(status: int) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 2**20
            yield b" " * 2**20

    with pytest.raises(AnswerInvalid, match=f"more than {MAX_JSON_BYTES} bytes"):
        client_of(lambda _: httpx.Response(status, content=endless())).query(NSID)
    assert sent <= MAX_JSON_BYTES + 2 * 2**20


def test_an_answer_may_be_as_large_as_the_bound() -> None:
    raw = b'{"a":"' + b"x" * (MAX_JSON_BYTES - 8) + b'"}'
    assert len(client_of(lambda _: answer(raw)).query(NSID)["a"]) == MAX_JSON_BYTES - 8


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_refused_and_not_followed(status: int) -> None:
    asked = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return answer(b"", status, {"location": "https://169.254.169.254/latest"})

    with pytest.raises(RequestRefused, match=r"redirects .* to https://169\.254\.169\.254/latest") as caught:
        client_of(handle).query(NSID)
    assert caught.value.code == "redirected"
    assert asked == [HOST]


def test_a_download_tells_size_and_mime_type_before_its_bytes() -> None:
    headers = {"content-length": "6", "content-type": "image/png"}
    client = client_of(lambda _: httpx.Response(200, headers=headers, content=iter([b"abc", b"def"])))
    with client.download(NSID, {"cid": "x"}) as download:
        assert (download.size_bytes, download.mime_type) == (6, "image/png")
        assert b"".join(download.chunks) == b"abcdef"


@pytest.mark.parametrize("announced", ["", "-1", "six", "6.0", "٦"])  # the last is six in Arabic digits
def test_a_size_that_is_no_number_is_no_size(announced: str) -> None:
    headers = [(b"content-length", announced.encode())]
    with client_of(lambda _: httpx.Response(200, headers=headers, content=iter([b""]))).download(NSID, {}) as download:
        assert download.size_bytes is None


@pytest.mark.parametrize("mime", ["", "tëxt/plain", "text/\x7f"])
def test_a_mime_type_that_could_not_be_sent_on_is_none(mime: str) -> None:
    headers = [(b"content-type", mime.encode())]
    with client_of(lambda _: httpx.Response(200, headers=headers, content=iter([b""]))).download(NSID, {}) as download:
        assert download.mime_type == ""


def test_a_download_that_is_refused_raises_before_any_byte() -> None:
    with (
        pytest.raises(ServerFault, match=r"pds.example answered 500 to com.example.some.method \(Oops: no\)"),
        client_of(lambda _: answer({"error": "Oops", "message": "no"}, 500)).download(NSID, {}),
    ):
        pytest.fail("there is nothing to read")


@pytest.mark.parametrize(
    ("status", "name"), [(401, "AuthenticationRequired"), (400, "ExpiredToken"), (400, "InvalidToken")]
)
def test_a_stale_token_is_renewed_once_and_the_request_repeated_whole(tmp_path: Path, status: int, name: str) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"x" * 700_000)
    sent_bytes: list[int] = []
    seen: list[tuple[str, str, bytes]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append((request.headers["authorization"], request.headers["content-length"], request.content))
        return answer({"error": name}, status) if len(seen) == 1 else answer({"ok": True})

    tokens = Tokens()
    body = UploadBody(path, 700_000, "image/png", on_bytes=sent_bytes.append)
    assert client_of(handle).with_authorization(tokens).upload(NSID, body) == {"ok": True}
    assert tokens.stale == ["token-0"]
    whole = ("700000", b"x" * 700_000)
    assert seen == [("Bearer token-0", *whole), ("Bearer token-1", *whole)]
    assert sent_bytes == [262_144, 262_144, 175_712] * 2


def test_a_token_that_is_refused_twice_is_an_error_and_not_a_loop() -> None:
    tokens = Tokens()
    client = client_of(lambda _: answer({"error": "ExpiredToken"}, 400)).with_authorization(tokens)
    with pytest.raises(AuthError) as caught:
        client.query(NSID)
    assert caught.value.code == "session_expired"
    assert tokens.stale == ["token-0"]


def test_another_refusal_does_not_cost_a_login() -> None:
    tokens = Tokens()
    client = client_of(lambda _: answer({"error": "InvalidRequest"}, 400)).with_authorization(tokens)
    with pytest.raises(RequestRefused):
        client.query(NSID)
    assert tokens.stale == []


def test_a_bearer_given_for_one_request_stands_in_for_the_session_and_is_not_renewed() -> None:
    tokens, seen = Tokens(), []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return answer({"error": "ExpiredToken"}, 400)

    with pytest.raises(AuthError):
        client_of(handle).with_authorization(tokens).procedure(NSID, bearer="service-auth")
    assert (seen, tokens.stale) == (["Bearer service-auth"], [])


def test_a_client_without_a_session_sends_no_token() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert "authorization" not in request.headers
        return answer({"error": "AuthenticationRequired"}, 401)

    with pytest.raises(AuthError):
        client_of(handle).query(NSID)


def test_tokens_that_the_host_repeats_do_not_stand_in_the_error() -> None:
    client = client_of(lambda r: answer({"message": f"bad {r.headers['authorization']}, the-refresh-token"}, 400))
    with pytest.raises(RequestRefused, match=r"\(bad Bearer …, …\)"):
        client.with_authorization(Tokens()).query(NSID)


def test_a_repr_tells_the_host_and_no_token() -> None:
    client = client_of(lambda _: answer({}))
    assert repr(client) == "XrpcClient('https://pds.example', without a session)"
    assert repr(client.with_authorization(Tokens())) == "XrpcClient('https://pds.example', with a session)"


@pytest.mark.parametrize("announced", ["9" * 19, "9" * 5000])
def test_a_size_beyond_any_disk_is_no_size(announced: str) -> None:
    headers = [(b"content-length", announced.encode())]
    with client_of(lambda _: httpx.Response(200, headers=headers, content=iter([b""]))).download(NSID, {}) as download:
        assert download.size_bytes is None


def test_json_that_is_compressed_is_not_unpacked() -> None:
    bomb = gzip.compress(b'{"a":"' + b" " * 64 * 2**20 + b'"}')
    with pytest.raises(AnswerInvalid, match="not a JSON object, and says that it is compressed"):
        client_of(lambda _: answer(bomb, 200, {"content-encoding": "gzip"})).query(NSID)


def test_an_error_that_is_compressed_is_told_without_its_words() -> None:
    words = gzip.compress(b'{"error":"BlobNotFound"}')
    with pytest.raises(RequestRefused, match="no reason given"):
        client_of(lambda _: answer(words, 400, {"content-encoding": "gzip"})).query(NSID)


def test_a_download_that_is_compressed_comes_as_it_was_sent() -> None:
    packed = gzip.compress(b"0" * 1000)
    headers = {"content-encoding": "gzip"}
    with client_of(lambda _: answer(packed, 200, headers)).download(NSID, {}) as download:
        assert b"".join(download.chunks) == packed
