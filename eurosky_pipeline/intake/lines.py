"""A stranger's file, line by line, in pieces of bounded size."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Protocol

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.intake.rows import MAX_ROW_BYTES

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class ByteLines(Protocol):
    """What is read from: a file opened in binary mode, or stdin's buffer."""

    def readline(self, size: int = ..., /) -> bytes: ...


class Lines:
    """The lines of a file with their numbers; a UTF-8 byte order mark at its start is left out.

    Attributes:
        number: of the line, from 1, that the last piece belongs to.
    """

    def __init__(self, stream: ByteLines, advance: Callable[[int], None] = lambda _: None) -> None:
        """Args: advance: is told how many bytes have been read.

        Raises: SettingsError if the file is in UTF-16, or empty.
        """
        self._stream, self._advance = stream, advance
        self.number = 0
        self._is_within = False
        first = stream.readline(MAX_ROW_BYTES)
        if first.startswith(_UTF16):
            raise SettingsError(
                "the list is in UTF-16, and must be in UTF-8",
                code="list_unreadable",
                hint="save it as “CSV UTF-8”, or convert it: iconv -f UTF-16 -t UTF-8",
            )
        if not first:
            raise SettingsError(
                "the list is empty", code="list_unreadable", hint="its first line names the columns, then a row a line"
            )
        self._kept: bytes | None = first
        self._mark_bytes = len(codecs.BOM_UTF8) if first.startswith(codecs.BOM_UTF8) else 0

    @property
    def first(self) -> bytes:
        """The beginning of the file, which `piece` gives first; only before the first `piece`."""
        return (self._kept or b"")[self._mark_bytes :]

    def piece(self) -> bytes:
        """The next line with its end, or the next part of a line that is longer than a row may be; b"" at the end."""
        if self._kept is not None:
            read, found, self._kept = len(self._kept), self.first, None
        else:
            found = self._stream.readline(MAX_ROW_BYTES)
            read = len(found)
        if not read:
            return b""
        self._advance(read)
        if not self._is_within:
            self.number += 1
        self._is_within = not found.endswith(b"\n")
        return found

    def is_cut(self, piece: bytes) -> bool:
        """Whether the line goes on after this piece."""
        return len(piece) + self._mark_bytes >= MAX_ROW_BYTES and not piece.endswith(b"\n")

    def skip_line(self, piece: bytes) -> None:
        """Pass by what is left of the line that this piece begins."""
        while self.is_cut(piece):
            piece = self.piece()
