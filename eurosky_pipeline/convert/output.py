"""The converted file: what is new comes first, then all that stays, copied through.

The commit's CID stands in the header and is known last. Both are as long as they will be from the start, so their place
is left open, and filled at the end.
"""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

from eurosky_pipeline.artifacts.workspace import PARTIAL_SUFFIX, disk_errors_named
from eurosky_pipeline.atproto.car import CarError, write_car
from eurosky_pipeline.atproto.cid import CID_BYTES, Cid, cid_of
from eurosky_pipeline.atproto.commit import Commit, encode_commit
from eurosky_pipeline.atproto.varint import encode_varint, read_varint
from eurosky_pipeline.convert.reach import DIGEST_START

_READ_BYTES: Final = 128 * 1024


class ConvertedFile:
    """Written beside `target`, and given its name by `finish`; without that, removed when the block ends.

    Attributes:
        put_cids: the digests of the blocks that were put, cut as in `reach`.
        size_bytes: when it is finished.
    """

    def __init__(self, target: Path, draft: Commit) -> None:
        """`draft` is a commit as long as the one that it will be."""
        self._target = target
        self._partial = target.with_name(target.name + PARTIAL_SUFFIX)
        self._draft = draft
        self._is_finished = False
        self.put_cids: set[bytes] = set()
        self.size_bytes = 0

    def __enter__(self) -> ConvertedFile:
        self._file: BinaryIO = self._partial.open("wb")
        self._file.write(_beginning(self._draft))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if not self._is_finished:
            self._partial.unlink(missing_ok=True)

    def put(self, cid: Cid, data: bytes) -> None:
        """Add a block; the second time, nothing."""
        digest = cid[DIGEST_START:]
        if digest in self.put_cids:
            return
        self.put_cids.add(digest)
        self._file.write(encode_varint(len(cid) + len(data)) + cid + data)

    def copy(self, stream: BinaryIO, wanted: set[bytes]) -> int:
        """Copy those blocks of another file whose digests are wanted, each once, which empties `wanted` of them.

        The blocks are taken as they stand there: whoever calls has hashed them.

        Returns: how many were copied.
        """
        write, take = self._file.write, wanted.remove
        _skip_header(stream)
        before, rest = len(wanted), b""
        while piece := stream.read(_READ_BYTES):
            buffer = rest + piece if rest else piece
            position = run = 0  # what stands between the two is copied in one piece
            size = len(buffer)
            try:
                while position < size:
                    length, start = buffer[position], position + 1
                    if length >= 0x80:
                        second = buffer[start]
                        if second < 0x80:
                            length, start = length - 0x80 | second << 7, position + 2
                        else:
                            length, start = _long_length(buffer, position)
                    end = start + length
                    if end > size:
                        break
                    try:
                        take(buffer[start + DIGEST_START : start + CID_BYTES])
                    except KeyError:
                        if run < position:
                            write(buffer[run:position])
                        run = end
                    position = end
            except IndexError:  # a length is cut in two
                pass
            if run < position:
                write(buffer[run:position])
            rest = buffer[position:]
        if rest:
            raise CarError("the file has become shorter while it was read")
        return before - len(wanted)

    def finish(self, commit: Commit) -> Cid:
        """Fill in the header and the commit, and give the file its name. Returns: the root."""
        beginning = _beginning(commit)
        assert len(beginning) == len(_beginning(self._draft))  # noqa: S101 - a signature has 64 bytes, a TID 13
        self.size_bytes = self._file.tell()
        self._file.seek(0)
        self._file.write(beginning)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._partial.replace(self._target)
        self._is_finished = True
        return cid_of(encode_commit(commit))


def copy_file(source: Path, target: Path) -> None:
    """Make `target` the same bytes as `source`, at once or not at all; they may be one file."""
    if target.exists() and target.samefile(source):
        return
    partial = target.with_name(target.name + PARTIAL_SUFFIX)
    try:
        with disk_errors_named(target):
            shutil.copyfile(source, partial)
            partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _beginning(commit: Commit) -> bytes:
    """The header, and the commit as the first block."""
    data, stream = encode_commit(commit), io.BytesIO()
    root = cid_of(data)
    write_car(stream, root, [(root, data)])
    return stream.getvalue()


def _skip_header(stream: BinaryIO) -> None:
    found = read_varint(stream)
    assert found is not None  # noqa: S101 - it has been read before
    stream.seek(sum(found))


def _long_length(buffer: bytes, position: int) -> tuple[int, int]:
    """A block's length, in a varint of three bytes or more, and the position behind it. Raises IndexError."""
    length = shift = 0
    while (byte := buffer[position]) >= 0x80:
        length |= byte - 0x80 << shift
        position, shift = position + 1, shift + 7
    return length | byte << shift, position + 1
