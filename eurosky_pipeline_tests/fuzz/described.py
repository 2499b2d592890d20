"""Repositories that a fuzzer can write: in place of hashes, which nobody guesses, numbers stand in them."""

import io
import re
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.car import write_car
from eurosky_pipeline.atproto.cid import DAG_CBOR_PREFIX, Cid, cid_of, parse_cid
from eurosky_pipeline.errors import IntegrityError

_LINK = re.compile(re.escape(dag_cbor.LINK_HEAD + DAG_CBOR_PREFIX) + rb"(.{32})", re.DOTALL)
_TEXT = re.compile(rb"bafyrei[a-z2-7]{52}")


@dataclass(frozen=True, slots=True)
class Described:
    """A CAR, the root in its header, and its blocks by their CIDs."""

    car: bytes
    root: bytes
    blocks: dict[bytes, bytes]


def repo_of(data: bytes) -> Described:
    """The repository that the bytes describe: each block with its length before it, children first.

    The first byte of a link's digest says which of the blocks before it is meant, in a link and in a CID's text.
    """
    blocks: list[tuple[bytes, bytes]] = []
    flags, at = data[:1] or b"\0", 1
    while at < len(data) and len(blocks) < 64:
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        block = _healed(data[at + 2 : end], [cid for cid, _ in blocks])
        blocks.append((cid_of(block), block))
        at = end
    root = blocks[-1][0] if blocks else cid_of(b"")
    if flags[0] & 1:
        blocks.reverse()
    if flags[0] & 2 and blocks:
        del blocks[(flags[0] >> 2) % len(blocks)]
    stream = io.BytesIO()
    write_car(stream, Cid(root), blocks)
    return Described(stream.getvalue(), root, dict(blocks))


def _healed(block: bytes, before: list[bytes]) -> bytes:
    def link(found: re.Match[bytes]) -> bytes:
        index = found[1][0]
        return dag_cbor.LINK_HEAD + before[index] if index < len(before) else found[0]

    def text(found: re.Match[bytes]) -> bytes:
        try:
            index = parse_cid(found[0].decode()).digest[0]
        except IntegrityError:
            return found[0]
        return str(Cid(before[index])).encode() if index < len(before) else found[0]

    return _TEXT.sub(text, _LINK.sub(link, block))


@cache
def folder() -> tempfile.TemporaryDirectory[str]:
    """One for the process, which removes it in the end."""
    return tempfile.TemporaryDirectory(prefix="eurosky-fuzz-")


def file_of(data: bytes) -> Path:
    """A file of these bytes, until the next one."""
    path = Path(folder().name) / "fuzz.car"
    path.write_bytes(data)
    return path
