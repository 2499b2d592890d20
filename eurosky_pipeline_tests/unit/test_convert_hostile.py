"""Hostile repositories: each is converted rightly, or refused by kind, in bounded time and memory.

Every one is converted in a process of its own, whose processor time and memory are measured; of what comes out,
`verify_car` is the judge. The limits are some times what was seen, on one core of 2.1 GHz.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.car import MAX_BLOCK_BYTES
from eurosky_pipeline.atproto.cid import cid_of
from eurosky_pipeline.atproto.mst_node import Entry, Node, encode_node
from eurosky_pipeline.atproto.verify import verify_car
from eurosky_pipeline_tests.builders import DID, make_block, make_legacy_blob_ref, make_strong_ref
from eurosky_pipeline_tests.unit.hostile import (
    EMPTY_REPO,
    RECORD,
    Pieces,
    block,
    section,
    under_commit,
    under_many_keys,
    with_record,
    with_records,
    with_tree,
)

POST = "app.bsky.feed.post"
LEGACY = make_legacy_blob_ref()
PICTURE = {"image": LEGACY}
PICTURE_KEY = f"{POST}/0000000"
PICTURE_BLOCK = dag_cbor.encode(PICTURE)
OLD_REF = make_strong_ref(PICTURE_KEY, cid_of(PICTURE_BLOCK))
_LEGACY_BYTES = dag_cbor.encode(LEGACY)

_CHILD = """
import json, sys, time
from pathlib import Path
from eurosky_pipeline.convert.convert_car import convert_car
from eurosky_pipeline.convert.legacy_blobs import LegacyBlobs
from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.plugins.record_transforms import UnknownSize
try:
    done = convert_car(Path(sys.argv[1]), Path(sys.argv[2]), [LegacyBlobs()], unknown_size=UnknownSize.KEEP,
                       blob_sizes=lambda cids: dict.fromkeys(cids, 2**53 - 1), report=lambda _: None)
    said = {"code": "", "converted": done.count("refs_converted"), "rewritten": done.strong_refs_rewritten}
except EuroskyError as error:
    said = {"code": error.code, "message": error.message}
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(json.dumps(said | {"seconds": time.process_time(), "megabytes": int(peak.split()[1]) / 1024}))
"""
_SPARE_BYTES = 300 * 1024 * 1024  # address space that is reserved and never used is no memory

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read in /proc")


class Hostile(NamedTuple):
    """A file in pieces, what has to come of it, and what that may cost.

    Attributes:
        outcome: the code of the error; or how many references are converted and how many rewritten.
    """

    pieces: Callable[[], Pieces]
    outcome: str | tuple[int, int]
    seconds: float = 3
    megabytes: float = 50


def run(folder: Path, *, seconds: float, megabytes: float) -> dict[str, Any]:
    """Convert a file in a process that is ended if it takes more than double of what it may."""

    def limit() -> None:
        space = 2 * int(megabytes * 1024 * 1024) + _SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
        resource.setrlimit(resource.RLIMIT_CPU, (2 * int(seconds) + 1, 2 * int(seconds) + 2))

    process = subprocess.run(
        [sys.executable, "-c", _CHILD, folder / "in.car", folder / "out.car"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )
    assert process.returncode == 0, (process.returncode, process.stderr[-2_000:])
    said: dict[str, Any] = json.loads(process.stdout)
    return said


# records that hang on each other


def numbered(count: int) -> list[str]:
    return [f"{POST}/{number:07}" for number in range(count)]


def a_chain(count: int, step: int) -> Pieces:
    """Posts that answer each other; each names the first one, too. By key they come in order, or in the reverse."""
    keys = numbered(count)[::step]
    root = ref = make_strong_ref(keys[0], cid_of(PICTURE_BLOCK))
    records = {keys[0]: PICTURE_BLOCK}
    for key in keys[1:]:
        records[key] = dag_cbor.encode({"reply": {"root": root, "parent": ref}})
        ref = make_strong_ref(key, cid_of(records[key]))
    return with_records((key.encode(), data) for key, data in records.items())


def each_names_all_before(count: int) -> Pieces:
    keys, refs, records = numbered(count), [], {}
    for key in reversed(keys):
        records[key] = dag_cbor.encode({"all": list(refs), "image": LEGACY})
        refs.append(make_strong_ref(key, cid_of(records[key])))
    return with_records((key.encode(), data) for key, data in records.items())


def many_name_one(count: int) -> Pieces:
    likes = (
        (key.encode(), dag_cbor.encode({"subject": OLD_REF, "n": n})) for n, key in enumerate(numbered(count)) if n
    )
    return with_records([(PICTURE_KEY.encode(), PICTURE_BLOCK), *likes])


def one_names_many(count: int) -> Pieces:
    records = {key: dag_cbor.encode(PICTURE | {"n": n}) for n, key in enumerate(numbered(count))}
    refs = [make_strong_ref(key, cid_of(data)) for key, data in records.items()]
    records["app.bsky.feed.like/a"] = dag_cbor.encode({"all": refs})
    return with_records((key.encode(), data) for key, data in records.items())


def one_names_one_again_and_again(count: int) -> Pieces:
    return with_records(
        [(PICTURE_KEY.encode(), PICTURE_BLOCK), (f"{POST}/a".encode(), dag_cbor.encode({"all": [OLD_REF] * count}))]
    )


def large_ones_that_name_one(count: int, padding: int) -> Pieces:
    large = dag_cbor.encode({"x": bytes(padding), "subject": OLD_REF})
    keys = numbered(count)
    return with_records([(keys[0].encode(), PICTURE_BLOCK), *((key.encode(), large) for key in keys[1:])])


def a_ring(count: int) -> Pieces:
    """As near to a circle as one gets: each names the next by its URI, and the CID is that of a version before."""
    keys = numbered(count)
    records = {
        key: dag_cbor.encode(PICTURE | {"next": make_strong_ref(after, cid_of(PICTURE_BLOCK)), "n": n})
        for n, (key, after) in enumerate(zip(keys, [*keys[1:], keys[0]], strict=True))
    }
    return with_records((key.encode(), data) for key, data in records.items())


def mentions_of_nobody(count: int) -> Pieces:
    """Records full of CIDs beside a URI of the account, as orphans."""
    uri = f"at://{DID}/{POST}/x"
    yield b"".join(with_records([(PICTURE_KEY.encode(), PICTURE_BLOCK)]))
    for n in range(count):
        refs = [{"cid": str(cid_of(b"%d %d" % (n, m))), "uri": ""} for m in range(2_000)]
        yield section(make_block({"refs": refs, "uri": uri}))


# records of many keys, and many references


def many_keys(count: int) -> Pieces:
    return with_records((key.encode(), PICTURE_BLOCK) for key in numbered(count))


def many_refs(count: int, *, is_distinct: bool) -> bytes:
    refs = [make_legacy_blob_ref(b"%d" % (n if is_distinct else 0)) for n in range(count)]
    return dag_cbor.encode({"images": refs})


def as_large_as_can_be() -> bytes:
    """So that the current form, a byte or two longer each, does not fit any more."""
    count = (MAX_BLOCK_BYTES - 100) // len(_LEGACY_BYTES)
    pad = MAX_BLOCK_BYTES - len(dag_cbor.encode({"a": [LEGACY] * count, "b": ""})) - 4
    return dag_cbor.encode({"a": [LEGACY] * count, "b": "x" * pad})


def look_alikes(count: int) -> bytes:
    return dag_cbor.encode({"x": [{"cid": "b" + "a" * 58, "mimeType": "x"}] * count})


def orphans(count: int) -> Pieces:
    yield EMPTY_REPO
    for n in range(count):
        yield section(make_block({"image": LEGACY, "n": n}))


def with_empty_lists(count: int, *, under_keys: int) -> Pieces:
    data = b"\xa2\x61a" + _LEGACY_BYTES + b"\x61b" + dag_cbor.head(4, count) + b"\x80" * count
    return under_many_keys(data, under_keys)


# trees, where nothing has to change


def doubled(levels: int) -> Pieces:
    """Each node links twice to the next one: few blocks, and 2 ** levels ways through them."""
    end = block(encode_node(Node(None, (Entry(b"a.b.c/x", RECORD[0], None),))))
    blocks = [end]
    for _ in range(levels):
        below = blocks[-1][0]
        blocks.append(block(encode_node(Node(below, (Entry(b"a.b.c/x", RECORD[0], below),)))))
    return under_commit(blocks[-1][0], RECORD, *blocks)


def with_root_node(data: bytes) -> Pieces:
    return with_tree(data, RECORD)


HOSTILE: dict[str, Hostile] = {
    "a chain of 2,000": Hostile(lambda: a_chain(2_000, 1), (1, 3_998), 3, 50),
    "a chain of 10,000 against the order of its keys": Hostile(lambda: a_chain(10_000, -1), (1, 19_998), 8, 80),
    "200 records that each name all before": Hostile(lambda: each_names_all_before(200), (200, 19_900), 6, 60),
    "5,000 that name one": Hostile(lambda: many_name_one(5_001), (1, 5_000), 4, 60),
    "one that names 3,000": Hostile(lambda: one_names_many(3_000), (3_000, 3_000), 5, 60),
    "one that names one 20,000 times": Hostile(lambda: one_names_one_again_and_again(20_000), (1, 20_000), 5, 80),
    "400 keys of one large record that names one": Hostile(lambda: large_ones_that_name_one(400, 2**20), "repo", 4, 60),
    "a ring of 3,000 whose CIDs do not match": Hostile(lambda: a_ring(3_000), (3_000, 0), 4, 60),
    "200,000 CIDs that nobody has, in orphans": Hostile(lambda: mentions_of_nobody(100), (1, 0), 4, 140),
    "20,000 keys of one legacy record": Hostile(lambda: many_keys(20_000), (20_000, 0), 10, 80),
    "10,000 legacy references in a record of 1 MB": Hostile(
        lambda: with_record(many_refs(10_000, is_distinct=False)), (10_000, 0), 3, 70
    ),
    "20,000 distinct legacy references in a record": Hostile(
        lambda: with_record(many_refs(20_000, is_distinct=True)), (20_000, 0), 5, 110
    ),
    "10,000 legacy references in a record of 400 keys": Hostile(
        lambda: under_many_keys(many_refs(10_000, is_distinct=False), 400), "repo", 10, 100
    ),
    "a record that is as large as a block can be": Hostile(
        lambda: with_record(as_large_as_can_be()), "transform_failed", 8, 150
    ),
    "20,000 look-alikes": Hostile(lambda: with_record(look_alikes(20_000)), (0, 0), 4, 70),
    "a mime type of 4 MB": Hostile(
        lambda: with_record(dag_cbor.encode({"image": LEGACY | {"mimeType": "x" * 4_000_000}})), (1, 0), 3, 80
    ),
    "a URI of 4 MB": Hostile(
        lambda: with_record(dag_cbor.encode(PICTURE | {"x": OLD_REF | {"uri": OLD_REF["uri"] + "x" * 4_000_000}})),
        (1, 0), 3, 80,
    ),
    "50,000 legacy orphans": Hostile(lambda: orphans(50_000), (0, 0), 4, 70),
    "a record full of empty lists": Hostile(lambda: with_empty_lists(500_000, under_keys=1), (1, 0), 15, 200),
    "a record full of empty lists under 200 keys": Hostile(
        lambda: with_empty_lists(200_000, under_keys=200), "repo", 30, 120
    ),
    "a tree of which each node links twice to the next": Hostile(lambda: doubled(100), "repo", 2, 40),
    "a tree that is three bytes": Hostile(lambda: with_root_node(b"\xa2ae"), (0, 0), 2, 40),
    "a tree that claims 2**60 entries": Hostile(
        lambda: with_root_node(b"\xa2ae" + dag_cbor.head(4, 2**60) + b"al\xf6"), (0, 0), 2, 40
    ),
}  # fmt: skip
"""The last ones have nothing to convert, so that how their trees are made is not looked at."""


@needs_proc
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_repository_is_converted_or_refused_in_bounded_time_and_memory(tmp_path, name):
    pieces, outcome, seconds, megabytes = HOSTILE[name]
    with (tmp_path / "in.car").open("wb") as file:
        file.writelines(pieces())
    size_bytes = (tmp_path / "in.car").stat().st_size
    said = run(tmp_path, seconds=seconds, megabytes=megabytes)
    print(f"{name}: {said['seconds']:.1f} s and {said['megabytes']:.0f} MB for {size_bytes / 1e6:.1f} MB")
    if isinstance(outcome, str):
        assert said["code"] == outcome
        assert 0 < len(said["message"]) < 1_500
        assert [path.name for path in tmp_path.iterdir()] == ["in.car"]
    else:
        assert said["code"] == "", said
        assert (said["converted"], said["rewritten"]) == outcome
        assert (tmp_path / "out.car").exists() == (outcome != (0, 0))
        if outcome != (0, 0):
            assert verify_car(tmp_path / "out.car").is_whole
    assert said["seconds"] < seconds
    assert said["megabytes"] < megabytes
