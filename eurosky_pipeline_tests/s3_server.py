"""A real S3 API on loopback (moto's), before which a test can put faults; and what stands in its bucket."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import boto3
import pytest

BUCKET = "eurosky-artifacts"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIACANARY1", "AWS_SECRET_ACCESS_KEY": "canary-s3-secret-7f21"}
_ERROR = "<Error><Code>{code}</Code><Message>{said}</Message><RequestId>1</RequestId></Error>"
SAID = f"the key {KEYS['AWS_ACCESS_KEY_ID']} with {KEYS['AWS_SECRET_ACCESS_KEY']}, X-Amz-Signature=0123456789abcdef"
"""What a server might say: nothing that a person should read in a log."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, list[str]]

    @property
    def part(self) -> int:
        return int(self.query.get("partNumber", ["0"])[0])


@dataclass
class S3Server:
    """Where it listens, what it was asked, and what it does other than a good server would.

    Attributes:
        answer: given each request, the (status, S3 code) of a refusal, or None to let it pass.
        is_lost: given each request, whether it is done and answered as if it had failed.
        page_size: the most that a listing gives at once; 0 for the server's own.
    """

    url: str
    client: Any
    requests: list[Request] = field(default_factory=list)
    answer: Callable[[Request], tuple[int, str] | None] = lambda request: None
    is_lost: Callable[[Request], bool] = lambda request: False
    page_size: int = 0

    def reset(self) -> None:
        self.answer, self.is_lost, self.page_size = lambda request: None, lambda request: False, 0
        self.requests.clear()

    def keys(self, prefix: str = "") -> list[str]:
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return [item["Key"] for item in found]

    def body(self, key: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def unfinished(self) -> list[str]:
        return [item["Key"] for item in self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Up as long as the block lasts, with an empty bucket."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTO_S3_DEFAULT_KEY_BUFFER_SIZE", str(1024 * 1024))  # larger ones on disk, not in this process
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        moto = DomainDispatcherApplication(create_backend_app)
        state: S3Server

        def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            query = environ.get("QUERY_STRING", "")
            request = Request(environ["REQUEST_METHOD"], environ["PATH_INFO"], parse_qs(query, keep_blank_values=True))
            state.requests.append(request)
            refusal = state.answer(request)
            if refusal is None and state.is_lost(request):
                for _ in moto(environ, lambda *_: None):
                    pass
                start_response("500 Lost", [("Content-Length", "0")])
                return [b""]
            if refusal is not None:
                is_chunked = environ.get("wsgi.input_terminated", False)
                environ["wsgi.input"].read(-1 if is_chunked else int(environ.get("CONTENT_LENGTH") or 0))
                body = b"" if request.method == "HEAD" else _ERROR.format(code=refusal[1], said=SAID).encode()
                headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
                start_response(f"{refusal[0]} Refused", headers)
                return [body]
            if state.page_size and {"list-type", "versions", "uploads"} & request.query.keys():
                environ["QUERY_STRING"] = f"{query}&max-keys={state.page_size}&max-uploads={state.page_size}"
            return moto(environ, start_response)

        server = make_server("127.0.0.1", 0, application, threaded=True)
        url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s"
        )
        state = S3Server(url, client)
        thread.start()
        try:
            client.create_bucket(Bucket=BUCKET)
            yield state
        finally:
            client.close()
            server.shutdown()
            server.server_close()
            thread.join(10)


def environment(server: S3Server) -> dict[str, str]:
    """What an operator sets to have artifacts there."""
    return {"AWS_ENDPOINT_URL": server.url, "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", **KEYS}
