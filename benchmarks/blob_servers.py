"""The benchmark's servers, each a process of its own that ends with the block that started it."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.made_blobs import MadeBlobs
from benchmarks.stub_server import COUNTS

_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Counts:
    """What a stub was given: bodies that came to their end, distinct blobs among them, bodies that were no blob, and
    all bytes, those of broken-off bodies included."""

    uploads: int
    arrived: int
    wrong: int
    received_bytes: int


@dataclass(frozen=True, slots=True)
class Stub:
    """A running stub."""

    url: str

    def counts(self) -> Counts:
        with urllib.request.urlopen(self.url + COUNTS) as answer:
            return Counts(**json.load(answer))


@contextmanager
def stub(blobs: MadeBlobs, *, delay_s: float = 0.0) -> Iterator[Stub]:
    """A stub that has these blobs to give, and none yet of those that it will be given."""
    arguments = ["--blobs", blobs.count, "--blob-bytes", blobs.size_bytes, "--delay-s", delay_s]
    with _started("benchmarks.stub_server", *arguments) as url:
        yield Stub(url)


@contextmanager
def far_away(url: str, delay_s: float) -> Iterator[str]:
    """The URL of a proxy that lets each request to `url` wait for so long."""
    with _started("benchmarks.latency_proxy", url, delay_s) as own_url:
        yield own_url


@contextmanager
def _started(module: str, *arguments: object) -> Iterator[str]:
    words = [sys.executable, "-m", module, *map(str, arguments)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT, text=True)
    assert process.stdin
    assert process.stdout
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"{module} did not start")
        yield url
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
