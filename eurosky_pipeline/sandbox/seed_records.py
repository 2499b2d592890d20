"""The seeded account's records: a small life of posts, replies, likes, reposts and follows around its blobs.

Everything is decided here, record keys and CIDs included, by a seed: two accounts seeded alike differ in their DID
and in what follows from it. The records are in DAG-CBOR's terms (`Cid` for a link); `as_json` turns them into XRPC's.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.atproto.syntax import tid_of
from eurosky_pipeline.sandbox.seed_blobs import MAX_PICTURE_BYTES
from eurosky_pipeline.xrpc.endpoints import UploadedBlob

BLOBS_PER_RECORD = 4
"""As many as a post's images; the seeded files keep to it, too."""
PROFILE_KEY = "self"
FILES_COLLECTION = "com.example.sandbox.files"
"""Another app's records, whose lexicon no PDS knows: they may hold blobs of any size and type."""

_LEGACY_ERA = datetime(2022, 11, 17, tzinfo=UTC)  # when posts still had the old blob references
_FIRST_POST = datetime(2023, 5, 1, tzinfo=UTC)
_TWO_YEARS = timedelta(days=730)
_WORDS = (
    ("Bonjour le monde, message n° {n} 🌊", "fr"),
    ("Grüße aus München, Nr. {n} 🥨 #eurosky", "de"),
    ("Just setting up my own server, day {n} #eurosky", "en"),
    ("こんにちは、世界。{n}番目の投稿です", "ja"),
    ("مرحبا بالعالم، المنشور رقم {n}", "ar"),
    ("Zażółć gęślą jaźń — wpis {n}", "pl"),
    ("¿Qué tal? Ya van {n} 👩🏽‍🚀🇪🇺", "es"),
    ("Καλημέρα κόσμε, {n}η φορά #eurosky", "el"),
    ("cafe\u0301 nu\u0301mero {n}, com acentos que se combinam", "pt"),  # not normalized, and to stay so
    ("Привет, мир! Запись {n}", "ru"),
)
_TAG = "#eurosky"


@dataclass(frozen=True, slots=True)
class SeedRecord:
    """One record, its CID worked out here."""

    collection: str
    rkey: str
    value: dict[str, Any]

    @property
    def key(self) -> str:
        return f"{self.collection}/{self.rkey}"

    @property
    def block(self) -> bytes:
        return dag_cbor.encode(self.value)

    @property
    def cid(self) -> Cid:
        return cid_of(self.block)


def legacy_posts(did: str, pictures: Sequence[UploadedBlob], seed: str) -> list[SeedRecord]:
    """A post for each picture, which it names in the legacy form; every second quotes the one before."""
    writer = _Writer(did, f"{seed}/legacy", _LEGACY_ERA, timedelta(hours=2))
    for index, picture in enumerate(pictures):
        image = {"alt": "", "image": {"cid": str(picture.blob_cid), "mimeType": picture.mime_type}}
        embed: dict[str, Any] = {"$type": "app.bsky.embed.images", "images": [image]}
        if index % 2:
            embed = {
                "$type": "app.bsky.embed.recordWithMedia",
                "record": {"$type": "app.bsky.embed.record", "record": writer.posts[-1]},
                "media": embed,
            }
        writer.post(embed=embed)
    return writer.records


def account_records(
    did: str, count: int, blobs: Sequence[UploadedBlob], older_posts: Sequence[SeedRecord], seed: str
) -> list[SeedRecord]:
    """`count` records: a profile, records that name all the blobs, and a life around them, in the order of its days.

    Where there is room, one blob in fifteen is named by a second post; the profile's pictures always are.

    Args:
        count: at least 1.
        blobs: at most `BLOBS_PER_RECORD` for each record but the profile.
        older_posts: posts that may be liked, answered and quoted as well.
    """
    step = min(timedelta(hours=6), _TWO_YEARS / count)
    writer = _Writer(did, f"{seed}/records", _FIRST_POST, step, older_posts)
    pictures = [blob for blob in blobs if _is_picture(blob)]
    others = [blob for blob in blobs if not _is_picture(blob)]
    groups = _grouped([*pictures, *others], count - 1, writer.chance)
    spare = count - 1 - len(groups)
    shared = writer.chance.sample(list(blobs), min(spare, -(-len(blobs) // 15)))
    groups += [[blob] for blob in shared]

    steps: list[list[UploadedBlob]] = groups + [[]] * (count - 1 - len(groups))
    writer.chance.shuffle(steps)
    for group in steps:
        if group:
            writer.show(group)
        else:
            writer.live()
    faces = [picture for picture in pictures if picture.mime_type in ("image/png", "image/jpeg")]
    writer.profile(faces[:2])
    return writer.records


def as_json(value: Any) -> Any:
    """A value of DAG-CBOR in JSON, as XRPC writes it. Spec: https://atproto.com/specs/data-model#representations"""
    if isinstance(value, Cid):
        return {"$link": str(value)}
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    return value


def _is_picture(blob: UploadedBlob) -> bool:
    return blob.mime_type.startswith("image/") and blob.size_bytes <= MAX_PICTURE_BYTES


def _grouped(blobs: Sequence[UploadedBlob], records: int, chance: random.Random) -> list[list[UploadedBlob]]:
    """Cut the blobs into groups of 1 to 4, at most `records` of them, and where there is room about two in a group."""
    least, comfortable = -(-len(blobs) // BLOBS_PER_RECORD), -(-len(blobs) // 2)
    sizes = [1] * max(least, min(records, comfortable))
    with_room = list(range(len(sizes)))
    for _ in range(len(blobs) - len(sizes)):
        place = chance.randrange(len(with_room))
        index = with_room[place]
        sizes[index] += 1
        if sizes[index] == BLOBS_PER_RECORD:
            with_room[place] = with_room[-1]
            with_room.pop()
    groups, start = [], 0
    for size in sizes:
        groups.append(list(blobs[start : start + size]))
        start += size
    return groups


class _Writer:
    """Writes records one after another, each a while after the one before."""

    def __init__(
        self, did: str, seed: str, start: datetime, step: timedelta, older_posts: Iterable[SeedRecord] = ()
    ) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - it decides what a test account says
        self.records: list[SeedRecord] = []
        self.posts = [self._strong_ref(did, post) for post in older_posts]
        self._did = did
        self._now = start
        self._step = step
        self._liked: set[str] = set()
        self._threads: dict[str, dict[str, Any]] = {}  # a reply's URI → the post that its thread began with

    def show(self, blobs: Sequence[UploadedBlob]) -> None:
        """A record that names these blobs: a post if its lexicon allows, else one of another app's."""
        if all(map(_is_picture, blobs)):
            images = [{"alt": f"picture {n}", "image": _blob_ref(blob)} for n, blob in enumerate(blobs, start=1)]
            self.post(embed={"$type": "app.bsky.embed.images", "images": images})
        elif len(blobs) == 1 and blobs[0].mime_type == "video/mp4":
            self.post(embed={"$type": "app.bsky.embed.video", "video": _blob_ref(blobs[0])})
        else:
            self._add(FILES_COLLECTION, {"files": [_blob_ref(blob) for blob in blobs], "createdAt": self._tick()})

    def live(self) -> None:
        """One thing that people do: mostly they post and like."""
        kinds = ["post"] * 6 + ["reply"] * 4 + ["quote"] * 2 + ["like"] * 6 + ["repost"] * 2 + ["follow"] * 3
        kind = self.chance.choice(kinds)
        if kind == "follow":
            subject = "did:plc:" + "".join(self.chance.choices("234567abcdefghijklmnopqrstuvwxyz", k=24))
            self._add("app.bsky.graph.follow", {"subject": subject, "createdAt": self._tick()})
        elif kind == "post" or not self.posts:
            self.post()
        else:
            target = self.chance.choice(self.posts)
            if kind == "reply":
                root = self._threads.get(target["uri"], target)
                self._threads[self.post(reply={"root": root, "parent": target})["uri"]] = root
            elif kind == "quote":
                self.post(embed={"$type": "app.bsky.embed.record", "record": target})
            elif kind == "repost" or target["uri"] in self._liked:
                self._add("app.bsky.feed.repost", {"subject": target, "createdAt": self._tick()})
            else:
                self._liked.add(target["uri"])
                self._add("app.bsky.feed.like", {"subject": target, "createdAt": self._tick()})

    def post(self, **extra: Any) -> dict[str, Any]:
        """A post in one of several languages; returns the strong reference to it."""
        pattern, language = self.chance.choice(_WORDS)
        text = pattern.format(n=len(self.posts) + 1)
        value: dict[str, Any] = {"text": text, "langs": [language], "createdAt": self._tick()} | extra
        if _TAG in text:
            start = len(text[: text.index(_TAG)].encode())  # facets count bytes of UTF-8
            feature = {"$type": "app.bsky.richtext.facet#tag", "tag": _TAG[1:]}
            value["facets"] = [{"index": {"byteStart": start, "byteEnd": start + len(_TAG)}, "features": [feature]}]
        ref = self._strong_ref(self._did, self._add("app.bsky.feed.post", value))
        self.posts.append(ref)
        return ref

    def profile(self, faces: Sequence[UploadedBlob]) -> None:
        value: dict[str, Any] = {"displayName": "Ada of the sandbox 🏖️", "description": "Seeded to be moved."}
        for name, face in zip(("avatar", "banner"), faces, strict=False):
            value[name] = _blob_ref(face)
        if self.posts:
            value["pinnedPost"] = self.posts[0]
        self._add("app.bsky.actor.profile", value | {"createdAt": self._tick()}, rkey=PROFILE_KEY)

    def _add(self, collection: str, value: dict[str, Any], *, rkey: str | None = None) -> SeedRecord:
        own_rkey = rkey or tid_of(int(self._now.timestamp() * 1_000_000))
        record = SeedRecord(collection, own_rkey, {"$type": collection} | value)
        self.records.append(record)
        return record

    def _tick(self) -> str:
        self._now += self._step * self.chance.uniform(0.2, 1.8)
        return self._now.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    @staticmethod
    def _strong_ref(did: str, record: SeedRecord) -> dict[str, Any]:
        return {"uri": f"at://{did}/{record.key}", "cid": str(record.cid)}


def _blob_ref(blob: UploadedBlob) -> dict[str, Any]:
    return {"$type": "blob", "ref": blob.blob_cid, "mimeType": blob.mime_type, "size": blob.size_bytes}
