"""CAR v1: a header that names the roots, then blocks, each with its length and its CID, one after another.

    header   varint length | DAG-CBOR {"roots": [CID], "version": 1}
    block    varint length | CID (36 bytes) | data
    block    …

Reading is a stream: one block in memory at a time, each hashed against its CID before it is handed out.
Spec: https://ipld.io/specs/transport/car/carv1/
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import CID_BYTES, DAG_CBOR_PREFIX, RAW_PREFIX, Cid
from eurosky_pipeline.atproto.varint import encode_varint, read_varint
from eurosky_pipeline.errors import IntegrityError

MAX_HEADER_BYTES = 64 * 1024
MAX_BLOCK_BYTES = 4 * 1024 * 1024
"""More than any record (1 MiB by the specification) or tree node takes; a length prefix beyond it is hostile."""


class CarError(IntegrityError):
    """The file is not a whole CAR v1, or a block does not hash to its CID."""

    default_code = "car"


@dataclass(frozen=True, slots=True)
class Block:
    """One block; `offset` is where its data begins in the file, in bytes. `cid` is 36 plain bytes, already checked."""

    cid: bytes
    data: bytes
    offset: int


class CarReader:
    """Read a CAR from a binary stream, front to back.

    Raises:
        CarError, VarintError, CborError: with the offset at which the file stops being a CAR.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._offset = 0
        self.roots = self._read_header()

    def __iter__(self) -> Iterator[Block]:
        sha256 = hashlib.sha256
        while (length := self._read_length()) is not None:
            start = self._offset
            if not CID_BYTES <= length <= MAX_BLOCK_BYTES + CID_BYTES:
                raise CarError(f"a block claims a length of {length} bytes", offset=start)
            raw = self._read_exactly(length)
            cid, data = raw[:CID_BYTES], raw[CID_BYTES:]
            if cid[:4] not in (DAG_CBOR_PREFIX, RAW_PREFIX):
                raise CarError("a block's CID is not of the kind that the AT Protocol uses", offset=start)
            if sha256(data).digest() != cid[4:]:
                raise CarError(f"the block does not hash to its CID {Cid(cid)}", offset=start)
            yield Block(cid, data, start + CID_BYTES)

    def _read_header(self) -> tuple[Cid, ...]:
        length = self._read_length()
        if length is None:
            raise CarError("the file is empty", offset=0)
        if not 1 <= length <= MAX_HEADER_BYTES:
            raise CarError(f"this is no CAR file: the header claims a length of {length} bytes", offset=0)
        try:
            header = dag_cbor.decode(self._read_exactly(length))
        except dag_cbor.CborError as error:
            raise CarError(f"this is no CAR file: the header is {error.message}", offset=0) from None
        if not isinstance(header, dict) or header.keys() != {"roots", "version"}:
            raise CarError("the header does not have exactly the fields roots and version", offset=0)
        if type(header["version"]) is not int or header["version"] != 1:
            raise CarError("this is no CAR file of version 1", offset=0)
        roots = header["roots"]
        if not isinstance(roots, list) or not roots or not all(isinstance(root, Cid) for root in roots):
            raise CarError("the header names no root", offset=0)
        return tuple(roots)

    def _read_length(self) -> int | None:
        found = read_varint(self._stream, offset=self._offset)
        if found is None:
            return None
        self._offset += found[1]
        return found[0]

    def _read_exactly(self, length: int) -> bytes:
        data = self._stream.read(length)
        if len(data) != length:
            raise CarError(f"the file ends {length - len(data)} bytes before the end of a block", offset=self._offset)
        self._offset += length
        return data


def read_root(path: Path) -> Cid:
    """The first root that a CAR file's header names; nothing else of it is read. Raises CarError, VarintError."""
    with path.open("rb") as stream:
        return CarReader(stream).roots[0]


def write_car(stream: BinaryIO, root: Cid, blocks: Iterable[tuple[bytes, bytes]]) -> None:
    """Write a CAR with one root and these (CID, data) blocks, in their order. The CIDs are taken as they are."""
    header = dag_cbor.encode({"roots": [root], "version": 1})
    stream.write(encode_varint(len(header)) + header)
    for cid, data in blocks:
        stream.write(encode_varint(len(cid) + len(data)) + cid + data)
