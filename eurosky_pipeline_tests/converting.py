"""Call the conversion as tests want it: bytes in, bytes out, and everything that it said and asked for on the way; and
a post with a legacy blob reference for it to convert."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.atproto.keys import SigningKey
from eurosky_pipeline.atproto.verify import verify_car
from eurosky_pipeline.convert.convert_car import Conversion, convert_car
from eurosky_pipeline.convert.legacy_blobs import LegacyBlobs
from eurosky_pipeline.plugins.record_transforms import RecordTransform, UnknownSize
from eurosky_pipeline_tests.builders import BuiltRepo, make_legacy_blob_ref, make_post, make_posts, make_repo

POST = "app.bsky.feed.post"
LEGACY = make_legacy_blob_ref()
BLOB = cid_of(b"a picture", CODEC_RAW)
SIZES = {BLOB: 9}
PICTURE = make_post("a picture", image=LEGACY)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it.

    Attributes:
        conversion: what `convert_car` has returned.
        data: the file that it wrote; None if it wrote none.
        asked: the blobs whose sizes it asked for, call by call.
        told: its progress, line by line.
    """

    conversion: Conversion
    data: bytes | None
    asked: tuple[tuple[Cid, ...], ...]
    told: tuple[str, ...]

    @property
    def counts(self) -> Mapping[str, int]:
        """Of the first transform, which is `legacy_blobs` where nothing else is said."""
        return self.conversion.transforms[0][2]


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """One for the process, which removes it in the end."""
    return tempfile.TemporaryDirectory(prefix="eurosky-test-")


def convert(
    data: bytes,
    sizes: Mapping[Cid, int] | None = None,
    *,
    unknown: str = "keep",
    key: SigningKey | None = None,
    transforms: Sequence[RecordTransform] | None = None,
) -> Outcome:
    """Convert a CAR of these bytes. Raises what `convert_car` raises, and then no file must be left behind."""
    folder = Path(_folder().name)
    source, target = folder / "source.car", folder / "target.car"
    source.write_bytes(data)
    asked: list[tuple[Cid, ...]] = []
    told: list[str] = []

    def blob_sizes(cids: Collection[Cid]) -> Mapping[Cid, int]:
        asked.append(tuple(cids))
        return {cid: sizes[cid] for cid in cids if cid in sizes} if sizes else {}

    try:
        conversion = convert_car(
            source,
            target,
            [LegacyBlobs()] if transforms is None else transforms,
            unknown_size=UnknownSize(unknown),
            blob_sizes=blob_sizes,
            signing_key=key,
            report=told.append,
        )
        converted = target.read_bytes() if target.exists() else None
    except BaseException:
        assert not target.exists()
        raise
    finally:
        assert source.read_bytes() == data
        target.unlink(missing_ok=True)
        source.unlink()
        assert list(folder.iterdir()) == []
    return Outcome(conversion, converted, tuple(asked), tuple(told))


@contextmanager
def saved(data: bytes) -> Iterator[Path]:
    """A file of these bytes, for a while."""
    path = Path(_folder().name) / "saved.car"
    path.write_bytes(data)
    try:
        yield path
    finally:
        path.unlink()


def is_whole(data: bytes) -> bool:
    """Whether it is a repository without a fault, and nothing beside it."""
    with saved(data) as path:
        found = verify_car(path)
    return found.is_whole and found.orphan_blocks == found.duplicate_blocks == 0


def tall_repo(count: int = 400) -> BuiltRepo:
    """Posts at several heights, the one in the middle with a picture."""
    posts = make_posts(count)
    return make_repo(posts | {list(posts)[count // 2]: PICTURE})
