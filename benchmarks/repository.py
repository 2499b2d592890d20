"""A large repository like a real one: likes, reposts, follows and posts, made with the project's own writer."""

import random
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eurosky_pipeline.atproto import dag_cbor, mst
from eurosky_pipeline.atproto.car import write_car
from eurosky_pipeline.atproto.cid import CODEC_DAG_CBOR, CODEC_RAW, Cid, cid_of
from eurosky_pipeline.atproto.commit import VOID_SIGNATURE, Commit, encode_commit
from eurosky_pipeline.atproto.syntax import tid_of

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
REV = "3jzfcijpj2z2a"
_FIRST_MICROSECONDS = 1_600_000_000_000_000
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_OTHER_SCRIPTS = ("これは写真です", "🌦️🦋", "blåbærgrød", "Привет", "naïveté", "ὠδή")


def write_repository(path: Path, record_count: int, *, seed: int = 1) -> None:
    """Write the repository of `record_count` records; the same arguments give the same bytes.

    Blocks stand in no order, as in the exports of the reference PDS.
    """
    dice = random.Random(seed)
    entries: list[tuple[bytes, Cid]] = []
    blocks: dict[bytes, bytes] = {}
    for key, value in _records(dice, record_count):
        data = dag_cbor.encode(value)
        cid = cid_of(data)
        entries.append((key.encode(), cid))
        blocks[cid] = data
    tree = mst.build(entries, blocks.__setitem__)
    commit = encode_commit(Commit(DID, 3, tree, REV, None, VOID_SIGNATURE))
    shuffled = list(blocks.items())
    dice.shuffle(shuffled)
    with path.open("wb") as file:
        write_car(file, cid_of(commit), [(cid_of(commit), commit), *shuffled])


def _records(dice: random.Random, count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    words = ["".join(dice.choices(string.ascii_lowercase, k=dice.randint(2, 9))) for _ in range(2000)]
    words += _OTHER_SCRIPTS
    for number in range(count):
        collection = dice.choices(
            ("app.bsky.feed.like", "app.bsky.feed.post", "app.bsky.graph.follow", "app.bsky.feed.repost"),
            weights=(50, 30, 12, 8),
        )[0]
        moment = _FIRST_MICROSECONDS + number * 7_000_000 + dice.randrange(1_000_000)
        record: dict[str, Any] = {"$type": collection, "createdAt": _date(dice)}
        if collection == "app.bsky.feed.post":
            record |= _post(dice, words)
        else:
            record["subject"] = _did(dice) if collection == "app.bsky.graph.follow" else _strong_ref(dice)
        yield f"{collection}/{tid_of(moment, dice.randrange(1024))}", record


def _post(dice: random.Random, words: list[str]) -> dict[str, Any]:
    post: dict[str, Any] = {"text": " ".join(dice.choices(words, k=dice.randint(3, 40))), "langs": ["en"]}
    if dice.random() < 0.4:
        parent = _strong_ref(dice)
        post["reply"] = {"root": parent, "parent": parent}
    if dice.random() < 0.2:
        image = {"$type": "blob", "ref": _cid(dice, CODEC_RAW), "mimeType": "image/jpeg", "size": dice.randrange(10**6)}
        ratio = {"width": 1000, "height": 750}
        images = [{"alt": "a picture", "image": image, "aspectRatio": ratio}]
        post["embed"] = {"$type": "app.bsky.embed.images", "images": images}
    if dice.random() < 0.3:
        tag = {"$type": "app.bsky.richtext.facet#tag", "tag": "tag"}
        post["facets"] = [{"index": {"byteStart": 3, "byteEnd": 20}, "features": [tag]}]
    return post


def _strong_ref(dice: random.Random) -> dict[str, str]:
    rkey = tid_of(dice.randrange(2**50))
    return {"cid": str(_cid(dice, CODEC_DAG_CBOR)), "uri": f"at://{_did(dice)}/app.bsky.feed.post/{rkey}"}


def _did(dice: random.Random) -> str:
    return "did:plc:" + "".join(dice.choices(_BASE32, k=24))


def _cid(dice: random.Random, codec: int) -> Cid:
    return cid_of(dice.randbytes(16), codec)


def _date(dice: random.Random) -> str:
    day, second = dice.randrange(28) + 1, dice.randrange(60)
    return f"2023-{dice.randint(1, 12):02}-{day:02}T{dice.randrange(24):02}:00:{second:02}.{dice.randrange(1000):03}Z"
