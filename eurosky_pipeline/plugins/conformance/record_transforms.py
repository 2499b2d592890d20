"""Whether a record transform keeps its promises.

The check takes it through the steps of a conversion, over the records that the author gives, several times and in
several orders.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.aturi import AtUriError, parse_at_uri
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.atproto.dag_cbor import CborError
from eurosky_pipeline.atproto.syntax import is_nsid
from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.plugins.conformance.steps import ConformanceError, checked, step
from eurosky_pipeline.plugins.factories import make
from eurosky_pipeline.plugins.foreign import shown
from eurosky_pipeline.plugins.hooks import Factory
from eurosky_pipeline.plugins.kinds import RECORD_TRANSFORMS
from eurosky_pipeline.plugins.record_transforms import RecordTransform, TransformContext, UnknownSize

DID: Final = "did:plc:conformance2conformance2"
_COLLECTION: Final = "com.example.conformance"
_FOREIGN: Final = {
    "a commit": dag_cbor.encode({"did": DID, "version": 3, "rev": "3jzfcijpj2z2a", "prev": None, "sig": bytes(64)}),
    "a node of the tree": dag_cbor.encode({"e": [], "l": None}),
    "a list": dag_cbor.encode([]),
    "what is cut short": b"\xa1",
    "what is empty": b"",
}
"""Blocks that a file may hold besides records, and that `scan` sees like all others."""

_Records = list[tuple[str, bytes]]


def check_record_transform(
    factory: object,
    records: Iterable[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]],
    *,
    blob_sizes: Mapping[Cid, int] | None = None,
) -> None:
    """Take a record transform through conversions of these records; silent if it keeps all its promises.

    They are:
        - a valid name and version, on the factory and on what it makes, which is a new instance each time;
        - every step takes every record, and `scan` every block, without raising, whatever becomes of unknown sizes;
          only where those shall `fail`, an EuroskyError may end the conversion;
        - nothing but `transform` changes a record, and it only those to which `scan` says yes;
        - what it gives is a map that DAG-CBOR can hold, and the same whatever came before;
        - `counts` gives names and numbers;
        - nothing is printed on stdout, which belongs to the commands' results.

    Args:
        factory: what the hook gives: the class, or a factory with name and version.
        records: decoded records, of each kind that the transform meets; or by AT-URI, if it looks at that.
        blob_sizes: the answers, in bytes, to what it asks of its context; what is not in there is unknown.

    Raises:
        ConformanceError: the first promise found broken, with step and record. ValueError: no records, or wrong ones.
    """
    found = _encoded(records)
    sound = checked(RECORD_TRANSFORMS, factory)
    for policy in UnknownSize:
        _check_policy(sound, found, TransformContext(DID, policy, _asked(blob_sizes or {}), lambda _: None))


def _check_policy(factory: Factory[RecordTransform], records: _Records, context: TransformContext) -> None:
    given = _convert(factory, records, context)
    for order, arranged in {"in reverse": records[::-1], "twice over": records + records}.items():
        again = _convert(factory, arranged, context)
        for uri, (block, _) in given.items():
            if uri in again and again[uri][0] != block:
                raise ConformanceError(f"{factory.name}: transform({uri}) gives another record when all come {order}")
    for uri, block in records:
        after, is_wanted = given.get(uri, (block, True))
        if after != block and not is_wanted:
            raise ConformanceError(f"{factory.name}: scan says no to {uri}, which transform changes")
    _convert(factory, [], context)  # a repository may hold nothing for it


def _convert(
    factory: Factory[RecordTransform], records: _Records, context: TransformContext
) -> dict[str, tuple[bytes, bool]]:
    """One conversion: by URI, the block that came out, and what `scan` said; empty where it was ended rightly."""
    transform = make(RECORD_TRANSFORMS, factory)
    name = transform.name
    may_end = EuroskyError if context.unknown_size is UnknownSize.FAIL else ()
    wanted: dict[str, bool] = {}
    for what, block in [*_FOREIGN.items(), *records]:
        with step(name, f"scan({what})"):
            answer: object = transform.scan(block)
        if type(answer) is not bool:
            raise ConformanceError(f"{transform.name}: scan({what}) gives {shown(answer)}, which is no bool")
        if answer and transform.needle not in block:
            raise ConformanceError(f"{transform.name}: scan({what}) says yes to a block that its needle is not in")
        wanted[what] = answer
    for uri, block in records:  # those that it does not want, too: it sees what another transform wants
        record = dag_cbor.decode(block)
        with step(name, f"survey({uri})"):
            transform.survey(record)
        if _block_of(record, f"{transform.name}: survey({uri}) leaves") != block:
            raise ConformanceError(f"{transform.name}: survey({uri}) changes the record")
    found: dict[str, tuple[bytes, bool]] = {}
    try:
        with step(name, "prepare", may_raise=may_end):
            transform.prepare(context)
        for uri, block in records:
            with step(name, f"transform({uri})", may_raise=may_end):
                given: object = transform.transform(uri, dag_cbor.decode(block))
            if type(given) is not dict:
                raise ConformanceError(f"{transform.name}: transform({uri}) gives {shown(given)}, which is no dict")
            after = _block_of(given, f"{transform.name}: transform({uri}) gives")
            if found.setdefault(uri, (after, wanted[uri]))[0] != after:
                raise ConformanceError(f"{transform.name}: transform({uri}) gives another record the second time")
    except EuroskyError:
        return found
    with step(name, "counts"):
        counts: object = transform.counts()
    if not isinstance(counts, Mapping) or not all(
        type(name) is str and type(count) is int and count >= 0 for name, count in counts.items()
    ):
        raise ConformanceError(f"{transform.name}: counts must give names with numbers that are not negative")
    return found


def _block_of(record: object, said: str) -> bytes:
    try:
        return dag_cbor.encode(record)
    except CborError as error:
        raise ConformanceError(f"{said} what is no record: {error.message}") from error


def _encoded(records: Iterable[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]]) -> _Records:
    """Each record's URI and block. Raises ValueError: it is the author's records that are wrong, not the transform."""
    if not isinstance(records, Mapping):
        records = {_uri(number, record): record for number, record in enumerate(records)}
    found: _Records = []
    for uri, record in records.items():
        try:
            if parse_at_uri(uri).rkey is None:
                raise ValueError(f"{uri} names no record")
            found.append((uri, dag_cbor.encode(dict(record))))
        except (AtUriError, CborError) as error:
            raise ValueError(f"a record to check with is none, or has no AT-URI: {error.message}") from error
    if not found:
        raise ValueError("there are no records to check with")
    return found


def _uri(number: int, record: Mapping[str, Any]) -> str:
    kind = record.get("$type")
    return f"at://{DID}/{kind if isinstance(kind, str) and is_nsid(kind) else _COLLECTION}/{number}"


def _asked(known: Mapping[Cid, int]) -> Callable[[Collection[Cid]], Mapping[Cid, int]]:
    def blob_sizes(cids: Collection[Cid]) -> Mapping[Cid, int]:
        return {cid: known[cid] for cid in cids if cid in known}

    return blob_sizes
