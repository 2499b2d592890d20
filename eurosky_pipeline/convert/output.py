"""The converted file: what is new comes first, then all that stays, copied through.

The commit's CID stands in the header and is known last. Both are as long as they will be from the start, so their place
is left open, and filled at the end.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

from eurosky_pipeline.artifacts.workspace import PARTIAL_SUFFIX, disk_errors_named
from eurosky_pipeline.atproto.car import write_car
from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.atproto.commit import Commit, encode_commit
from eurosky_pipeline.atproto.varint import encode_varint

_COPY_BYTES: Final = 256 * 1024


class ConvertedFile:
    """Written beside `target`, and given its name by `finish`; without that, removed when the block ends.

    Attributes:
        put_cids: of the blocks that were put.
        size_bytes: when it is finished.
    """

    def __init__(self, target: Path, draft: Commit) -> None:
        """`draft` is a commit as long as the one that it will be."""
        self._target = target
        self._partial = target.with_name(target.name + PARTIAL_SUFFIX)
        self._draft = draft
        self._is_finished = False
        self.put_cids: set[Cid] = set()
        self.size_bytes = 0

    def __enter__(self) -> ConvertedFile:
        try:
            self._partial.unlink(missing_ok=True)  # a killed run may have left it as another name of the original
            self._file: BinaryIO = self._partial.open("wb")
            self._file.write(_beginning(self._draft))
        except BaseException:
            self._partial.unlink(missing_ok=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if not self._is_finished:
            self._partial.unlink(missing_ok=True)

    def put(self, cid: Cid, data: bytes) -> None:
        """Add a block; the second time, nothing."""
        if cid not in self.put_cids:
            self.put_cids.add(cid)
            self._file.write(encode_varint(len(cid) + len(data)) + cid + data)

    def copy(self, read: Callable[[int, int], bytes], start: int, end: int, gaps: Iterable[tuple[int, int]]) -> None:
        """Copy a stretch of another file, gaps left out.

        Args:
            read: bytes of the other file, by offset and length.
            start, end: of the stretch, in bytes.
            gaps: (start, end) of what lies in it and is not wanted, in any order.
        """
        for gap_start, gap_end in [*sorted(gaps), (end, end)]:
            while start < gap_start:
                piece = read(start, min(_COPY_BYTES, gap_start - start))
                self._file.write(piece)
                start += len(piece)
            start = gap_end

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
