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

_MAY_STAY = {"dag_cbor", "repo", "mst"}
"""What is no fault of a part that has to change stays as it is: a record that is none, a node at a wrong place."""


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
    after = verify_car(target if done.is_changed else source)
    assert {problem.kind for problem in (*before.problems, *after.problems)} <= _MAY_STAY
    assert after.is_whole == before.is_whole
    if before.is_whole:
        _compare(car, result, done)
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
