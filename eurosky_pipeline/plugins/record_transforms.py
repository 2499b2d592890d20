"""Record transforms: what a conversion does to each record of a repository, one transform after the other.

A conversion makes a new instance of every transform, and takes it through these steps, in this order:

    scan(block)             for the block of every record, in no order, before anything is decided
    survey(record)          for each record whose block any transform's `scan` said yes to, if the tree leads to it
    prepare(context)        once; the time to ask for what is not in the repository
    transform(uri, record)  for each of those records again, through the transforms in the order of the settings
    counts()                for the report

What a transform never gets: credentials, a session, a client, a path.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.plugins.foreign import handed


class UnknownSize(StrEnum):
    """What becomes of a legacy blob reference whose blob's size nobody tells."""

    KEEP = "keep"
    """It stays as it is, and is counted: the current form must not hold a size that is not known."""
    SENTINEL = "sentinel"
    """It is converted with a size of -1, which the specification does not allow and some servers accept."""
    FAIL = "fail"
    """The conversion fails."""


class TransformFailedError(FatalError):
    """A record transform raised, or returned what is no record."""

    default_code = "transform_failed"


@dataclass(frozen=True, slots=True)
class TransformContext:
    """What a transform may know and ask for.

    Attributes:
        did: whose repository it is.
        unknown_size: what the operator wants where a blob's size is not known.
        blob_sizes: the sizes in bytes of as many of these blobs as can be found out; it may take its time, and those
            that nobody knows are missing from the answer. Raises EuroskyError.
        report: takes a line for people, on what is going on.
    """

    did: str
    unknown_size: UnknownSize
    blob_sizes: Callable[[Collection[Cid]], Mapping[Cid, int]]
    report: Callable[[str], None]

    def __post_init__(self) -> None:
        for name in ("blob_sizes", "report"):
            object.__setattr__(self, name, handed(getattr(self, name)))


class RecordTransform(ABC):
    """One transform; a subclass has a `name`, a `version`, and at least `transform`.

    Attributes:
        name: how the settings and the report call it; lower case, digits and `_`.
        version: of what it does: another version may give other records.
        needle: bytes that stand in every block that `scan` has to see; others are passed over, which is quick. The key
            of a map is such: its length plus 0x60, then its letters.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    needle: ClassVar[bytes] = b""

    def scan(self, block: bytes) -> bool:  # noqa: ARG002
        """Whether the record in this DAG-CBOR block may have to be transformed; take notes, if there is need.

        Called for every block that is no node of the tree, so it has to be quick, and orphan blocks are among them.
        Without an own one, every record of the repository is decoded.
        """
        return True

    def survey(self, record: Mapping[str, Any]) -> None:  # noqa: B027
        """See a decoded record, to know what `prepare` has to find out; it must not be changed yet."""

    def prepare(self, context: TransformContext) -> None:  # noqa: B027
        """Find out what `transform` needs. Raises EuroskyError to end the conversion."""

    @abstractmethod
    def transform(self, uri: str, record: dict[str, Any]) -> dict[str, Any]:
        """The record as it shall be: the same object, changed or not, or another one.

        The same record must always give the same result. Strong references are not its business: those in the same
        repository are made right afterwards.

        Args:
            uri: the record's AT-URI, `at://did/collection/rkey`.
            record: decoded: None, bool, int, str, bytes, list, dict, and `Cid` for links.

        Raises: EuroskyError to end the conversion; any other exception ends it too, with record and transform named.
        """

    def counts(self) -> Mapping[str, int]:
        """What it did, in numbers with names, for the report."""
        return {}
