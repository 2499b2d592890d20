"""What a fuzzer begins with: small and good examples of everything, made by the project's own writers."""

import itertools

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.atproto.commit import Commit, encode_commit, sign
from eurosky_pipeline.atproto.keys import Curve, signing_key_of
from eurosky_pipeline.atproto.mst_node import Entry, Node, encode_node
from eurosky_pipeline.atproto.varint import encode_varint
from eurosky_pipeline_tests.builders import (
    DID,
    REV,
    BuiltRepo,
    keys_at_height,
    make_blob_ref,
    make_block,
    make_legacy_blob_ref,
    make_post,
    make_posts,
    make_repo,
    make_repo_car,
    make_strong_ref,
)

CBOR_WORDS = (
    dag_cbor.LINK_HEAD,
    b"\xd8\x2a",
    b"\xfb",
    b"\x9f",
    b"\xbf",
    b"\xff",
    b"\x18\x18",
    b"\x19\x01\x00",
    b"\xf6",
)
NODE_WORDS = (*CBOR_WORDS, b"\xa2ae\x80al\xf6", b"\xa4ak", b"ap\x00", b"ap\x18\x18", b"at\xf6", b"av", b"a.b.c/")
COMMIT_WORDS = (b"cdid", b"crev", b"csig", b"ddata", b"dprev", b"gversion\x03", b"gversion\x02", b"did:web:a")
LEGACY_WORDS = (
    b"\xa2ccidx;bafkrei",
    b"hmimeTypeaa",
    b"curix",
    b"ccidx;bafyrei",
    b"bafyreiaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    f"at://{DID}/".encode(),
    b"dsize\x05e$typedblob",
)
TEXT_WORDS = (
    b"did:",
    b"did:plc:",
    b"did:web:",
    b"at://",
    b"..",
    b"%20",
    b"/",
    b"a.b.c",
    b"--",
    b"self",
    b"\xc3\xa9",
    b"\n",
)

_KEY = signing_key_of(Curve.K256, bytes(31) + b"\x07")
_LINKS = [cid_of(b"%d" % n) for n in range(3)]
_UNSIGNED = Commit(DID, 3, _LINKS[0], REV, None, b"")


def varints() -> list[bytes]:
    return [encode_varint(number) for number in (0, 1, 127, 128, 300, 2**14, 2**31, 2**56 - 1, 2**63 - 1)]


def values() -> list[bytes]:
    numbers = [0, 23, 24, 255, 256, 65_535, 65_536, 2**32, 2**64 - 1, -1, -24, -25, -(2**64)]
    nested: object = []
    for _ in range(20):
        nested = [nested, {"a": nested}] if _ < 3 else [nested]
    found = [
        None,
        True,
        False,
        numbers,
        "",
        "é",
        "x" * 24,
        b"",
        bytes(256),
        [],
        {},
        {"a": 1, "b": [], "aa": {}},
        nested,
    ]
    links = [*_LINKS, cid_of(b"raw", CODEC_RAW)]
    return [
        dag_cbor.encode(value) for value in [*found, links, make_post(embed=[make_blob_ref(), make_legacy_blob_ref()])]
    ]


def nodes() -> list[bytes]:
    first, second, third = _LINKS
    some = [b"ap/ap", b"ap/apap", b"b.c/x", b"b.c/xy", b"b.c/z" + b"z" * 30]
    found = [
        encode_node(Node(left, tuple(Entry(key, first, right) for key in keys)))
        for left in (None, second)
        for right in (None, third)
        for keys in ([], some[:1], some, [b"a/%02d" % n for n in range(25)])
    ]
    return list(dict.fromkeys(found))


def commits() -> list[bytes]:
    signed = encode_commit(sign(_UNSIGNED, _KEY))
    old = {"did": "did:web:example.com", "version": 2, "data": _LINKS[1], "prev": _LINKS[2], "sig": b"sig"}
    return [
        encode_commit(_UNSIGNED),
        signed,
        dag_cbor.encode(dag_cbor.decode(signed) | {"prev": _LINKS[1]}),
        dag_cbor.encode(old),
        dag_cbor.encode({name: value for name, value in old.items() if name != "prev"} | {"rev": REV}),
    ]


def _small_repos() -> list[BuiltRepo]:
    """Of no record; of some at one height; of keys at three heights; and with subtrees on all sides of two keys."""
    heights = [next(keys_at_height(height)).decode() for height in (0, 2, 1, 0)]
    tall = {key: {"n": n} for n, key in enumerate(heights)} | {"a.b.c/d": {"e": 1, "l": None}}
    ones = list(itertools.islice(keys_at_height(1), 2))
    wide = {key.decode(): {} for key in (*ones, *itertools.islice(keys_at_height(0), 12))}
    return [make_repo({}), make_repo(make_posts(3)), make_repo(tall), make_repo(wide)]


def cars() -> list[bytes]:
    return [
        make_repo_car({}),
        make_repo_car({"a.b.c/d": {"n": 1}}),
        make_repo_car(make_posts(5), orphans=[1], duplicates=2),
    ]


def described_repos() -> list[bytes]:
    """As the target `repo` wants them: children first, and in a link the number of the block that is meant."""
    return [_described(repo) for repo in _small_repos()]


def _described(repo: BuiltRepo) -> bytes:
    blocks = list(dict([*repo.records.values(), *repo.nodes, repo.commit]).items())
    numbers = {cid: number for number, (cid, _) in enumerate(blocks)}
    parts = [b"\0"]
    for _, data in blocks:
        plain = data
        for cid, number in numbers.items():
            stand_in = Cid(cid[:4] + bytes([number]) + bytes(31))
            plain = plain.replace(cid, stand_in).replace(str(cid).encode(), str(stand_in).encode())
        parts.append(len(plain).to_bytes(2, "big") + plain)
    return b"".join(parts)


def described_legacy_repos() -> list[bytes]:
    """As `described_repos`, with something to convert in most of them; see `_legacy_records`."""
    keys = [next(keys_at_height(height)).decode() for height in (0, 1, 0, 2)]
    keys = list(dict.fromkeys([*keys, "a.b.c/d", "a.b.c/e", "a.b.c/f"]))
    return [_described(make_repo(dict(zip(keys, records, strict=False)))) for records in _legacy_records(keys)]


def _legacy_records(keys: list[str]) -> list[list[dict[str, object]]]:
    """Pictures; a thread; references that do not match; the same record twice; what begins as a node does."""
    pictures = [make_post(f"{n}", image=make_legacy_blob_ref(b"%d" % n)) for n in range(4)]
    refs = [make_strong_ref(key, make_block(picture)[0]) for key, picture in zip(keys, pictures, strict=False)]
    thread: list[dict[str, object]] = [pictures[0]]
    for key in keys[:4]:
        thread.append({"reply": {"root": refs[0], "parent": make_strong_ref(key, make_block(thread[-1])[0])}})
    wrong = refs[0] | {"cid": refs[1]["cid"]}
    known = {"x": make_blob_ref(b"1"), "y": make_blob_ref(b"2") | {"size": 1}, "z": make_blob_ref(b"2")}
    return [
        [{}, make_post()],
        [*pictures, known],
        thread,
        [pictures[0], {"x": [wrong, {"uri": refs[0]["uri"]}, {"cid": refs[0]["cid"]}, refs[0]]}],
        [pictures[0], pictures[0], {"refs": [refs[0], make_strong_ref(keys[1], make_block(pictures[0])[0])]}],
        [{"e": [make_legacy_blob_ref()], "l": None}, {"e": [], "l": None}, make_legacy_blob_ref()],
    ]


def identifiers() -> list[bytes]:
    return [
        text.encode()
        for text in (
            DID,
            "did:web:example.com%3A8080",
            "did:m:v:v.v_v-v",
            "alice.example.com",
            "a-1.B--2.c3",
            "1.2.x",
            "com.example.fooBar",
            "cn.8.lex.stuff",
            "self",
            "3jzfcijpj2z2a",
            "a~b:c_d-e.f",
            "app.bsky.feed.post/3jzfcijpj2z2a",
            "a" * 63 + "." + "b" * 63 + ".c",
        )
    ]


def at_uris() -> list[bytes]:
    authorities = [DID, "alice.example.com", "did:web:example.com"]
    return [
        f"at://{name}{path}".encode() for name in authorities for path in ("", "/a.b.c", "/app.bsky.feed.post/self")
    ]


def cid_texts() -> list[bytes]:
    return [str(cid).encode() for cid in (*_LINKS, cid_of(b"raw", CODEC_RAW))]


def formatted() -> list[bytes]:
    datetimes = [b"1985-04-12T23:20:50.123Z", b"0001-01-01T00:00:00-23:59", b"2024-02-29T12:00:00.1234567+01:45"]
    languages = [b"ja", b"pt-BR", b"zh-Hant-TW-x-priv", b"i-navajo", b"de-CH-1996-u-co-phonebk", b"en-GB-oed"]
    uris = [b"https://example.com/a?b=c#d", b"did:plc:x", b"mailto:a@b", b"at://a.b/%20"]
    return [*datetimes, *languages, *uris, *cid_texts(), b"zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA"]


def keys() -> list[bytes]:
    found = [_KEY, signing_key_of(Curve.P256, bytes(31) + b"\x09")]
    public = [text.encode() for key in found for text in (key.public_key.did_key, key.public_key.multikey)]
    return [*public, b"f8126" + b"00" * 31 + b"07", b"f8626" + b"11" * 32, b"22" * 32]
