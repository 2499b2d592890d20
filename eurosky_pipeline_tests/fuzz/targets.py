"""What is fuzzed. Each target judges some bytes: whether they are accepted, and that they were judged rightly.

A target raises only if it has found a fault: an error of another type than the documented one, an answer that a plain
second reader does not share, bytes that are accepted and not the one spelling of what was read, or too long a time.
"""

import contextlib
import io
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from eurosky_pipeline.atproto import base58, commit, dag_cbor, formats, keys, mst_node, syntax
from eurosky_pipeline.atproto.aturi import AtUriError, parse_at_uri
from eurosky_pipeline.atproto.car import BlockHashError, CarReader, write_car
from eurosky_pipeline.atproto.cid import CidError, cid_of, parse_cid
from eurosky_pipeline.atproto.dag_cbor import CborError
from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.atproto.varint import MAX_VARINT_BYTES, VarintError, encode_varint, read_varint
from eurosky_pipeline.atproto.verify import verify_car
from eurosky_pipeline.errors import IntegrityError
from eurosky_pipeline_tests import plain_cbor
from eurosky_pipeline_tests.fuzz import conversion, plain_repo, plain_syntax, seeds
from eurosky_pipeline_tests.fuzz.described import file_of, repo_of
from eurosky_pipeline_tests.plain_cbor import NotCanonical

_KINDS = {"block_hash", "block_missing", "car", "commit", "dag_cbor", "mst", "repo", "varint"}
_QUICK_S = 0.05  # a hundred times as long as any text within its limit takes


@dataclass(frozen=True, slots=True)
class Target:
    """Judge bytes: True if they are accepted. `seeds` are accepted ones; `words` help to get further ones."""

    judge: Callable[[bytes], bool]
    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...] = ()
    max_bytes: int = 1_000


def _assert_placed(error: IntegrityError, lowest: int, highest: int) -> None:
    assert error.offset is not None
    assert lowest <= error.offset <= highest


def _varint(data: bytes) -> bool:
    stream = io.BytesIO(data)
    try:
        found = read_varint(stream, offset=7)
    except VarintError as error:
        _assert_placed(error, 7, 7)
        assert stream.tell() <= MAX_VARINT_BYTES
        return False
    if found is None:
        assert not data
        return False
    number, length = found
    assert encode_varint(number) == data[:length]
    assert stream.tell() == length
    return True


def _dag_cbor(data: bytes) -> bool:
    try:
        value = dag_cbor.decode(data)
    except CborError:
        assert not plain_cbor.is_canonical(data)
        return False
    assert value == plain_cbor.read(data)
    assert dag_cbor.encode(value) == data
    return True


def _mst_node(data: bytes) -> bool:
    try:
        node = mst_node.parse_node(data)
    except (mst_node.MstError, CborError):
        try:
            plain_cbor.read_node(data)
        except NotCanonical:
            return False
        raise
    assert (node.left, [tuple(entry) for entry in node.entries]) == plain_cbor.read_node(data)
    assert mst_node.encode_node(node) == data
    return True


def _commit(data: bytes) -> bool:
    try:
        found = commit.parse_commit(data)
    except (commit.CommitError, CborError):
        return False
    fields = dag_cbor.decode(data)
    assert fields.pop("sig") == found.sig
    assert commit.unsigned_bytes(found) == dag_cbor.encode(fields)
    if found.version == 3:
        assert commit.encode_commit(found) == data
    assert plain_syntax.is_account_did(found.did)
    assert plain_syntax.is_tid(found.rev) or (found.rev == "" and found.version == 2)
    return True


class _Dribble(io.BytesIO):
    """Gives a few bytes at a time, as a socket does."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(7, 7 if size is None or size < 0 else size))


def _read_car(stream: io.BytesIO, size_bytes: int) -> tuple[list[object], bool]:
    """All that a reader says of a stream, with the places; and whether it was without a fault."""
    said: list[object] = []
    try:
        reader = CarReader(stream)
    except IntegrityError as error:
        _assert_placed(error, 0, size_bytes)
        return [error.message], False
    said.append(reader.roots)
    is_sound = True
    while True:
        try:
            said += reader
            return said, is_sound
        except IntegrityError as error:
            _assert_placed(error, 0, size_bytes)
            is_sound = False
            said.append((error.code, error.message))
            if not isinstance(error, BlockHashError):
                return said, False


def _verify(data: bytes) -> int | None:
    """How many records the file holds; None if it is no whole repository."""
    found = verify_car(file_of(data))
    assert {problem.kind for problem in found.problems} <= _KINDS
    assert all(problem.offset is None or 0 <= problem.offset <= len(data) for problem in found.problems)
    assert len(found.problems) == min(100, found.problem_count)
    return found.records if found.is_whole else None


def _car(data: bytes) -> bool:
    said, is_sound = _read_car(io.BytesIO(data), len(data))
    assert _read_car(_Dribble(data), len(data)) == (said, is_sound)
    count = _verify(data)
    if not is_sound:
        assert count is None
        return False
    roots, *blocks = said
    assert all(cid_of(block, cid[1]) == cid and data[place:].startswith(block) for cid, block, place in blocks)
    header = dag_cbor.encode({"roots": list(roots), "version": 1})
    again = io.BytesIO()
    write_car(again, roots[0], [block[:2] for block in blocks])
    one_root = dag_cbor.encode({"roots": [roots[0]], "version": 1})
    assert encode_varint(len(header)) + header + again.getvalue()[1 + len(one_root) :] == data
    return True


def _repo(data: bytes) -> bool:
    found = repo_of(data)
    return _is_whole(found.car, found.root, found.blocks)


def _is_whole(data: bytes, root: bytes, blocks: dict[bytes, bytes]) -> bool:
    try:
        expected = plain_repo.records_of(root, blocks)
    except NotCanonical:
        assert _verify(data) is None
        try:
            with open_repo(file_of(data)) as repo:
                list(repo.records())
        except IntegrityError:
            return False
        raise AssertionError("a repository that is not whole was read") from None
    assert _verify(data) == len(expected)
    with open_repo(file_of(data)) as repo:
        assert {record.key: record.value for record in repo.records()} == expected
    return True


def _text(data: bytes) -> str:
    """Any text that Python can hold: bytes that are no UTF-8 become halves of surrogates, as JSON can have them."""
    return data.decode("utf-8", "surrogateescape")


def _quick(judge: Callable[[str], object]) -> Callable[[bytes], bool]:
    """Judge a text, in time."""

    def timed(data: bytes) -> bool:
        text = _text(data)
        for _ in range(3):  # somebody else may have had the processor
            began = time.thread_time()
            is_accepted = bool(judge(text))
            if time.thread_time() - began < _QUICK_S:
                return is_accepted
        raise AssertionError(f"{len(text)} characters took longer than {_QUICK_S} s")

    return timed


_SYNTAX: dict[str, Callable[[str], bool]] = {
    "is_account_did": plain_syntax.is_account_did,
    "is_at_identifier": plain_syntax.is_at_identifier,
    "is_did": plain_syntax.is_did,
    "is_handle": plain_syntax.is_handle,
    "is_nsid": plain_syntax.is_nsid,
    "is_record_key": plain_syntax.is_record_key,
    "is_repo_path": plain_syntax.is_repo_path,
    "is_tid": plain_syntax.is_tid,
}


def _syntax(text: str) -> bool:
    accepted = [name for name, plain in _SYNTAX.items() if plain(text)]
    assert [name for name in _SYNTAX if getattr(syntax, name)(text)] == accepted
    if "is_handle" in accepted:
        assert syntax.normalize_handle(text) == text.lower()
        assert plain_syntax.is_handle(text.lower())
    if "is_tid" in accepted and text != "j" + "z" * 12:
        assert syntax.next_tid(text) > text
        assert plain_syntax.is_tid(syntax.next_tid(text))
    return bool(accepted)


def _at_uri(text: str) -> bool:
    try:
        uri = parse_at_uri(text)
    except AtUriError:
        assert not plain_syntax.is_at_uri(text)
        return False
    assert str(uri) == text
    assert plain_syntax.is_at_uri(text)
    return True


def _cid_text(text: str) -> bool:
    try:
        cid = parse_cid(text)
    except CidError:
        return False
    assert str(cid) == text
    assert len(cid) == 36
    assert formats.is_cid_text(text)
    return True


def _formats(text: str) -> bool:
    checks = (formats.is_datetime, formats.is_language, formats.is_uri, formats.is_cid_text)
    accepted = [check(text) for check in checks]
    assert not any(accepted) or text.isascii()
    return any(accepted)


def _key(text: str) -> bool:
    accepted = False
    with contextlib.suppress(ValueError):
        assert base58.encode(base58.decode(text)) == text
    for parse, spell in (
        (keys.parse_did_key, lambda key: key.did_key),
        (keys.parse_multikey, lambda key: key.multikey),
    ):
        try:
            assert spell(parse(text)) == text
            accepted = True
        except keys.PublicKeyError as error:
            _assert_untold(error)
    for kind in ("Multikey", "EcdsaSecp256k1VerificationKey2019", "EcdsaSecp256r1VerificationKey2019"):
        try:
            key = keys.parse_document_key(kind, text)
        except keys.PublicKeyError as error:
            _assert_untold(error)
        else:
            assert keys.parse_multikey(key.multikey) == key
            accepted = True
    try:
        secret = keys.parse_signing_key(text, hex_curve=keys.Curve.K256)
    except keys.SigningKeyError as error:
        _assert_untold(error)
    else:
        assert text not in repr(secret)
        secret.public_key.verify(b"message", secret.sign(b"message"))
        accepted = True
    return accepted


_said: set[str] = set()


def _assert_untold(error: keys.PublicKeyError | keys.SigningKeyError) -> None:
    """What is no key may still be a secret. If the text went into messages, there would be ever more of them."""
    _said.add(re.sub("[0-9]+", "0", error.with_hint()))
    assert len(_said) < 60


TARGETS: dict[str, Target] = {
    "varint": Target(_varint, seeds.varints, max_bytes=20),
    "dag_cbor": Target(_dag_cbor, seeds.values, seeds.CBOR_WORDS),
    "mst_node": Target(_mst_node, seeds.nodes, seeds.NODE_WORDS, max_bytes=3_000),
    "commit": Target(_commit, seeds.commits, seeds.COMMIT_WORDS),
    "car": Target(_car, seeds.cars, seeds.NODE_WORDS, max_bytes=4_000),
    "repo": Target(_repo, seeds.described_repos, seeds.NODE_WORDS + seeds.COMMIT_WORDS, max_bytes=4_000),
    "convert": Target(
        conversion.judge, seeds.described_legacy_repos, seeds.NODE_WORDS + seeds.LEGACY_WORDS, max_bytes=6_000
    ),
    "syntax": Target(_quick(_syntax), seeds.identifiers, seeds.TEXT_WORDS, max_bytes=2_200),
    "at_uri": Target(_quick(_at_uri), seeds.at_uris, seeds.TEXT_WORDS, max_bytes=9_000),
    "cid_text": Target(_quick(_cid_text), seeds.cid_texts, max_bytes=100),
    "formats": Target(_quick(_formats), seeds.formatted, seeds.TEXT_WORDS, max_bytes=9_000),
    "key": Target(_quick(_key), seeds.keys, (b"did:key:z", b"zQ3sh", b"zDna", b"f8126", b"f8626"), max_bytes=200),
}
