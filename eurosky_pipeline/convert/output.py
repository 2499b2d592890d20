"""The converted file: what is new comes first, then all that stays, copied through.

The commit's CID stands in the header and is known last. Both are as long as they will be from the start, so their place
is left open, and filled at the end.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Final

from eurosky_pipeline.artifacts.disk import disk_errors_named
from eurosky_pipeline.artifacts.replacement import Replacement
from eurosky_pipeline.atproto.car import write_car
from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.atproto.commit import Commit, encode_commit
from eurosky_pipeline.atproto.varint import encode_varint

_COPY_BYTES: Final = 256 * 1024


class ConvertedFile:
    """Takes `target`'s place by `finish`; without that, it is gone when the block ends.

    Attributes:
        put_cids: of the blocks that were put.
        size_bytes: when it is finished.
    """

    def __init__(self, target: Path, draft: Commit) -> None:
        """`draft` is a commit as long as the one that it will be."""
        self._replacement = Replacement(target)
        self._draft_beginning = _beginning(draft)
        self.put_cids: set[Cid] = set()
        self.size_bytes = 0

    def __enter__(self) -> ConvertedFile:
        self._file = self._replacement.__enter__().stream
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._replacement.__exit__(kind, error, trace)

    def put(self, cid: Cid, data: bytes) -> None:
        """Add a block; the second time, nothing."""
        if not self.put_cids:
            self._file.write(self._draft_beginning)
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
        assert len(beginning) == len(self._draft_beginning)  # noqa: S101 - a signature has 64 bytes, a TID 13
        self.size_bytes = self._file.tell()
        self._file.seek(0)
        self._file.write(beginning)
        self._replacement.keep()
        return cid_of(encode_commit(commit))


def copy_file(source: Path, target: Path) -> None:
    """Make `target` the same bytes as `source`, at once or not at all; they may be one file."""
    if target.exists() and target.samefile(source):
        return
    with disk_errors_named(target), source.open("rb") as stream, Replacement(target) as replacement:
        shutil.copyfileobj(stream, replacement.stream, _COPY_BYTES)
        replacement.keep()


def _beginning(commit: Commit) -> bytes:
    """The header, and the commit as the first block."""
    data, stream = encode_commit(commit), io.BytesIO()
    root = cid_of(data)
    write_car(stream, root, [(root, data)])
    return stream.getvalue()
