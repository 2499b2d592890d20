"""The conversion of whatever a fuzzer comes up with, held against the plain one."""

from collections.abc import Collection, Mapping

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.atproto.dag_cbor import CborError
from eurosky_pipeline.atproto.verify import verify_car
from eurosky_pipeline.convert.convert_car import Conversion, convert_car
from eurosky_pipeline.convert.legacy_blobs import LegacyBlobs
from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.plugins.record_transforms import UnknownSize
from eurosky_pipeline_tests import plain_convert
from eurosky_pipeline_tests.fuzz.described import file_of, repo_of
from eurosky_pipeline_tests.plain_convert import NoRev, Repo

_RECORD_FAULTS = {"dag_cbor", "repo"}
"""A record in which nothing has to change is copied as it is; and how the tree is made is looked at if one changes."""


def judge(data: bytes) -> bool:
    """Whether the described repository is converted, or rightly has nothing to convert."""
    car = repo_of(data).car
    source = file_of(car)
    before = verify_car(source)
    target = source.with_name("converted.car")
    target.unlink(missing_ok=True)
    try:
        done = convert_car(
            source, target, [LegacyBlobs()], unknown_size=UnknownSize.KEEP, blob_sizes=_sizes, report=_is_line
        )
    except EuroskyError:
        assert not target.exists()
        assert not before.is_whole or _cannot_be_converted(car)
        return False
    assert source.read_bytes() == car
    assert target.exists() == done.is_changed
    result = target.read_bytes() if done.is_changed else car
    if before.is_whole:
        _compare(car, result, done)
    else:
        may_be_faulty = _RECORD_FAULTS if done.is_changed else _RECORD_FAULTS | {"mst"}
        assert {problem.kind for problem in before.problems} <= may_be_faulty
    after = verify_car(target if done.is_changed else source)
    assert after.problem_count == before.problem_count
    assert not done.is_changed or after.orphan_blocks == after.duplicate_blocks == 0
    return before.is_whole


def _sizes(blobs: Collection[Cid]) -> Mapping[Cid, int]:
    """Of every second blob; which ones, the fuzzer decides."""
    return {blob: 1 + blob[6] for blob in blobs if blob[5] % 2}


def _is_line(text: str) -> None:
    assert text
    assert "\n" not in text


def _cannot_be_converted(car: bytes) -> bool:
    """Whether a whole repository has no next revision, or a record that would be nested too deep."""
    try:
        plain_convert.convert(car, _sizes(plain_convert.legacy_blobs(car)), "keep")
    except (NoRev, CborError):
        return True
    return False


def _compare(car: bytes, result: bytes, done: Conversion) -> None:
    expected = plain_convert.convert(car, _sizes(plain_convert.legacy_blobs(car)), "keep")
    after: Repo = plain_convert.read(result)
    assert after.cids == expected.cids
    assert plain_convert.tree_of(after.cids) == expected.tree
    assert done.records == len(expected.cids)
    assert done.records_changed == expected.records_changed
    assert done.strong_refs_rewritten == expected.strong_refs_rewritten
    assert (done.count("refs_converted"), done.count("refs_kept")) == (expected.refs_converted, expected.refs_kept)
    assert after.rev == (expected.rev or after.rev)
    assert bytes(done.root) == plain_convert.read_blocks(result)[0]
