"""Records through the transforms, and strong references after them, in dependency order.

A record that names a changed one by its CID has to wait until that one's new CID is known; since it holds the hash of
the other's old block, no two records can wait for each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, Final

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.car import MAX_BLOCK_BYTES
from eurosky_pipeline.atproto.cid import Cid, CidError, cid_of, parse_cid
from eurosky_pipeline.atproto.indexed_car import RepoError
from eurosky_pipeline.convert.strong_refs import CID_TEXTS, own_prefix, own_refs
from eurosky_pipeline.errors import EuroskyError, IntegrityError
from eurosky_pipeline.plugins.foreign import let_interruption_through, told
from eurosky_pipeline.plugins.record_transforms import RecordTransform, TransformFailedError

PutBlock = Callable[[Cid, bytes], None]
"""Takes a block of the converted repository; it may come twice."""

# Keys may share a record's block. In an honest repository few do; in a hostile one a million share one of 4 MiB.
_MAX_SHARING: Final = 4  # a record is read three times at most
_SMALL_RECORD_BYTES: Final = 2048  # costs no more than a key, of which there can be as many as the file is long
_FREE_READING_BYTES: Final = 8 * 1024 * 1024
LEAVE_OUT: Final = "leave that transform out of EUROSKY_RECORD_TRANSFORMS, or have it mended"


class Fold:
    """All records that may change; `run` once.

    Attributes:
        new: the CID of each of them when it is settled, by key; the old one where nothing changed.
        strong_refs_rewritten: how many references were made right.

    Args:
        keys_of: the keys of each record, by its CID.
        load: a block's data, by CID.
        transformed: the CIDs of records that go through the transforms; of the others only references may change.
        transforms: in their order, prepared.
        put: takes the new blocks, in an order that nothing but the repository decides.
        size_bytes: of the file, which bounds how much may be read of it again.
    """

    def __init__(
        self,
        did: str,
        keys_of: Mapping[bytes, Sequence[str]],
        load: Callable[[bytes], bytes],
        transformed: Container[bytes],
        transforms: Sequence[RecordTransform],
        *,
        size_bytes: int,
    ) -> None:
        self._prefix = own_prefix(did)
        self._old = {key: cid for cid, keys in keys_of.items() for key in keys}
        self._load = load
        self._transformed = transformed
        self._transforms = transforms
        self._left_bytes = _FREE_READING_BYTES + _MAX_SHARING * size_bytes
        self._texts: dict[bytes, bytes] = {}
        self.new: dict[str, bytes] = {}
        self.strong_refs_rewritten = 0

    def survey(self) -> None:
        """Show every record that is going to be transformed to all transforms. Raises as `run`."""
        for key in sorted(self._old):
            if self._old[key] in self._transformed:
                _, record = self._decoded(key)
                for transform in self._transforms:
                    try:
                        transform.survey(record)
                    except BaseException as error:
                        let_interruption_through(error)
                        raise self._failure(transform, key, error) from error

    def run(self, put: PutBlock) -> dict[bytes, bytes]:
        """Settle every record. Returns: the new CID by key, as the tree has it, of those that changed.

        Raises:
            RepoError: a record is malformed, or so many keys share large blocks that it would take too long.
            TransformFailedError: a transform raised, or made what is no record; names both.
            EuroskyError: what a transform raised on purpose.
        """
        for first in sorted(self._old):
            pending = [first]
            while pending:
                key = pending[-1]
                if key in self.new:
                    pending.pop()
                    continue
                data, record = self._decoded(key)
                named = [name for ref, name in own_refs(record, self._prefix) if self._is_matched(ref, name)]
                waiting = [name for name in named if name not in self.new]
                if waiting:
                    pending += waiting
                    continue
                pending.pop()
                if self._old[key] in self._transformed:
                    self.new[key] = self._settled(key, record, put)
                else:
                    self.new[key] = self._repointed(key, data, Counter(named), put)
        return {key.encode(): cid for key, cid in self.new.items() if cid != self._old[key]}

    def _is_matched(self, ref: Mapping[str, Any], named: str) -> bool:
        """Whether the reference names a record that may change, and the version of it that is in the repository."""
        old = self._old.get(named)
        if old is None:
            return False
        try:
            return parse_cid(ref["cid"]) == old
        except CidError:
            return False

    def _settled(self, key: str, record: dict[str, Any], put: PutBlock) -> bytes:
        """A record's new CID, transforms and references done."""
        record = self._through_transforms(key, record)
        data = self._encoded(key, record)  # first: a record that holds itself could be searched for ever
        return self._put(key, *self._with_new_refs(key, data), put)

    def _with_new_refs(self, key: str, data: bytes) -> tuple[bytes, int]:
        """The record's block with its references made right, and how many were not."""
        record = dag_cbor.decode(data)  # and not what a transform gave, which it may want to keep as it is
        rewritten = self._rewrite_refs(key, record)
        return (self._encoded(key, record) if rewritten else data), rewritten

    def _repointed(self, key: str, data: bytes, named: Mapping[str, int], put: PutBlock) -> bytes:
        """A record's new CID where only references change.

        Args:
            named: how often it names each record that may have changed.
        """
        new_texts: dict[bytes, bytes] = {}
        expected: Counter[bytes] = Counter()
        for name, count in named.items():
            if self.new[name] != self._old[name]:
                old_text = self._text_of(self._old[name])
                new_texts[old_text] = self._text_of(self.new[name])
                expected[old_text] += count
        found = Counter(CID_TEXTS.findall(data))
        if any(found[text] != count for text, count in expected.items()) or self._is_ambiguous(named):
            return self._put(key, *self._with_new_refs(key, data), put)
        # each stands where it is to be changed and nowhere else, and the new one is as long
        patched = CID_TEXTS.sub(lambda match: new_texts.get(match[0], match[0]), data)
        return self._put(key, patched, expected.total(), put)

    def _is_ambiguous(self, named: Iterable[str]) -> bool:
        """Whether two of these records were one block, and are not any more: one old CID has two new ones."""
        return len({self._old[name] for name in named}) != len({(self._old[name], self.new[name]) for name in named})

    def _put(self, key: str, data: bytes, rewritten: int, put: PutBlock) -> bytes:
        new = cid_of(data)
        if new != self._old[key]:
            put(new, data)
            self.strong_refs_rewritten += rewritten
        return new

    def _text_of(self, cid: bytes) -> bytes:
        text = self._texts.get(cid)
        if text is None:
            text = self._texts[cid] = str(Cid(cid)).encode()
        return text

    def _encoded(self, key: str, record: dict[str, Any]) -> bytes:
        try:
            data = dag_cbor.encode(record)
        except dag_cbor.CborError as error:
            raise self._bad_result(key, error.detail) from None
        if len(data) > MAX_BLOCK_BYTES:
            raise self._bad_result(key, f"larger than {MAX_BLOCK_BYTES} bytes")
        return data

    def _through_transforms(self, key: str, record: dict[str, Any]) -> dict[str, Any]:
        for transform in self._transforms:
            try:
                record = transform.transform(self._prefix + key, record)
            except BaseException as error:
                let_interruption_through(error)
                raise self._failure(transform, key, error) from error
            if type(record) is not dict:
                raise TransformFailedError(
                    f"the record transform {transform.name} {transform.version} made a {type(record).__name__}, and no "
                    f"record, of {self._prefix}{key}",
                    hint=LEAVE_OUT,
                )
        return record

    def _rewrite_refs(self, key: str, record: dict[str, Any]) -> int:
        """Give each reference to a changed record its new CID; how many there were."""
        rewritten = 0
        for ref, named in own_refs(record, self._prefix):
            if not self._is_matched(ref, named):
                continue
            if named not in self.new:  # then it was not there when the others were waited for
                raise self._bad_result(key, f"a reference to {named}, which changes only later")
            if self.new[named] != self._old[named]:
                ref["cid"] = str(Cid(self.new[named]))
                rewritten += 1
        return rewritten

    def _decoded(self, key: str) -> tuple[bytes, dict[str, Any]]:
        cid = self._old[key]
        data = self._load(cid)
        self._left_bytes -= max(0, len(data) - _SMALL_RECORD_BYTES)
        if self._left_bytes < 0:
            raise RepoError(f"the keys up to {key} name the same large blocks again and again")
        try:
            record = dag_cbor.decode(data)
        except IntegrityError as error:
            raise RepoError(f"the record {key} is {error.detail}", code=error.code) from None
        if type(record) is not dict:
            raise RepoError(f"the record {key} is not a map")
        return data, record

    def _failure(self, transform: RecordTransform, key: str, error: BaseException) -> EuroskyError:
        return transform_failure(transform, f"on {self._prefix}{key}", error)

    def _bad_result(self, key: str, fault: str) -> TransformFailedError:
        names = ", ".join(f"{transform.name} {transform.version}" for transform in self._transforms)
        return TransformFailedError(
            f"the record {self._prefix}{key} as the transforms ({names}) made it is or holds {fault}", hint=LEAVE_OUT
        )


def transform_failure(transform: RecordTransform, where: str, error: BaseException) -> EuroskyError:
    """What to raise for what a transform has raised: on purpose, that itself; else an error that names it."""
    if isinstance(error, EuroskyError):
        return error
    return TransformFailedError(
        f"the record transform {transform.name} {transform.version} failed {where}: {told(error)}", hint=LEAVE_OUT
    )
