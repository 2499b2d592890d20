"""The life of an account that was there before 2023: what it wrote, and what of its own hangs on that."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.block_spool import BlockSpool
from benchmarks.chance import Chance, images, number_of
from benchmarks.repository import DID
from eurosky_pipeline.atproto.cid import Cid

PROFILE_KEY = "self"
_PROFILE, _POST = "app.bsky.actor.profile", "app.bsky.feed.post"
_RKEY_BYTES = 13
_KNOWN_POSTS = 4096
_OPEN_THREADS = 64

StrongRef = dict[str, str]


class Keys:
    """The tree's keys, each with its block's number, packed; within a collection they come in order."""

    def __init__(self, spool: BlockSpool) -> None:
        self._spool = spool
        self._rkeys: dict[str, bytearray] = {}
        self._numbers: dict[str, array[int]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._numbers.values()))

    def add(self, collection: str, rkey: str, block_number: int) -> None:
        self._rkeys.setdefault(collection, bytearray()).extend(rkey.encode().ljust(_RKEY_BYTES))
        self._numbers.setdefault(collection, array("I")).append(block_number)

    def entries(self) -> Iterator[tuple[bytes, Cid]]:
        """Every (key, record CID), in key order."""
        for collection in sorted(self._numbers):
            start, rkeys = collection.encode() + b"/", self._rkeys[collection]
            for place, number in enumerate(self._numbers[collection]):
                rkey = rkeys[place * _RKEY_BYTES : (place + 1) * _RKEY_BYTES]
                yield start + rkey.rstrip(), self._spool.cid(number)


class _Blobs:
    """Blobs in both forms, some of them named more than once."""

    def __init__(self, chance: Chance) -> None:
        self.sizes: dict[Cid, int] = {}
        self._chance = chance
        self._named: list[dict[str, Any]] = []

    def legacy(self) -> dict[str, Any]:
        """A reference in the legacy form; one in twenty is to a blob that was named before."""
        if self._named and self._chance.random() < 0.05:
            blob = self._chance.choice(self._named)
        else:
            blob = self._chance.blob_ref()
            self._named.append(blob)
            if self._chance.random() >= 0.02:
                self.sizes[blob["ref"]] = blob["size"]
        return {"cid": str(blob["ref"]), "mimeType": blob["mimeType"]}

    def current(self) -> dict[str, Any]:
        """The current form of a reference to a blob of which there is a legacy one too."""
        if not self._named:
            return self._chance.blob_ref()
        blob = self._chance.choice(self._named)
        if self._chance.random() < 0.5:
            self.sizes.pop(blob["ref"], None)
        return blob


@dataclass(slots=True)
class _Thread:
    root: StrongRef
    last: StrongRef


@dataclass(slots=True)
class Life:
    """Writes the account's records, one after another; `newest` is the last one's number, `imported` how many came by
    the import."""

    chance: Chance
    spool: BlockSpool
    newest: int
    imported: int
    legacy_records: int = 0
    keys: Keys = field(init=False)
    blobs: _Blobs = field(init=False)
    _posts: list[StrongRef] = field(default_factory=list)
    _legacy_posts: list[StrongRef] = field(default_factory=list)
    _threads: list[_Thread] = field(default_factory=list)
    _latest: dict[bool, tuple[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keys = Keys(self.spool)
        self.blobs = _Blobs(self.chance)

    def live(self, number: int, *, has_legacy: bool) -> None:
        """One thing that people do, in the `number`th moment."""
        if self.chance.random() < (0.02 if has_legacy else 0.001) and has_legacy in self._latest:
            self._file_twin(number, has_legacy=has_legacy)
        elif has_legacy and self.chance.random() < 0.2:
            self._file(number, *self._legacy_of_other_apps(), has_legacy=True)
        elif has_legacy:
            self._post(number, self._with_legacy(self._post_value()), has_legacy=True)
        elif (collection := self.chance.collection()) == _POST:
            self._post(number, self._post_value())
        else:
            self._file(number, *self._deed(collection))

    def delete_one(self, *, has_legacy: bool) -> None:
        """A post whose block has stayed behind, without a key."""
        value = {"$type": _POST, "createdAt": self.chance.date()} | self._post_value()
        self.spool.add_value(value | {"embed": images([self.blobs.legacy()])} if has_legacy else value)

    def finish(self, *, has_legacy: bool) -> None:
        """The profile, which was edited last."""
        profile: dict[str, Any] = {"displayName": "Ada 🌦️", "description": self.chance.text(20)}
        profile["avatar"] = self.blobs.legacy() if has_legacy else self.chance.blob_ref()
        profile["banner"] = self.chance.blob_ref()
        if self._posts:
            profile["pinnedPost"] = self._own_ref()
        self._file(self.newest, _PROFILE, profile, rkey=PROFILE_KEY, has_legacy=has_legacy)

    def rev_of(self, rkey: str) -> int:
        """The revision with which a record came: 0 for all that were imported."""
        if self.imported > self.newest:
            return 0
        number = self.newest if rkey == PROFILE_KEY else number_of(rkey)
        return 1 + number if number >= self.imported else 0

    def _post(self, number: int, value: dict[str, Any], *, has_legacy: bool = False) -> None:
        """A post, and what may come back to it: its place among the known ones, and in its thread."""
        thread = self._thread_for(value)
        cid, rkey = self._file(number, _POST, value, has_legacy=has_legacy)
        ref = {"cid": str(cid), "uri": f"at://{DID}/{_POST}/{rkey}"}
        if has_legacy:
            self._legacy_posts.append(ref)
        if len(self._posts) < _KNOWN_POSTS:
            self._posts.append(ref)
        else:
            self._posts[self.chance.randrange(_KNOWN_POSTS)] = ref
        if thread is not None:
            thread.last = ref

    def _thread_for(self, value: dict[str, Any]) -> _Thread | None:
        """Every seventh post answers the account itself: it begins a thread, or goes on with an open one."""
        if not self._posts or self.chance.random() >= 0.15:
            return None
        if not self._threads or self.chance.random() < 0.2:
            root = self._own_ref()
            if len(self._threads) == _OPEN_THREADS:
                self._threads.pop(self.chance.randrange(_OPEN_THREADS))
            self._threads.append(_Thread(root, root))
        thread = self.chance.choice(self._threads)
        value["reply"] = {"root": thread.root, "parent": thread.last}
        return thread

    def _post_value(self) -> dict[str, Any]:
        post = self.chance.post()
        if self._posts and self.chance.random() < 0.04:
            post["embed"] = {"$type": "app.bsky.embed.record", "record": self._own_ref()}
        return post

    def _with_legacy(self, post: dict[str, Any]) -> dict[str, Any]:
        """The same post, with one legacy reference or more."""
        kind = self.chance.random()
        if kind < 0.15:
            link = {"uri": "https://example.com/", "title": self.chance.text(6), "description": ""}
            post["embed"] = {"$type": "app.bsky.embed.external", "external": link | {"thumb": self.blobs.legacy()}}
            return post
        media = images([self.blobs.legacy() for _ in range(self.chance.choice((1, 1, 1, 2, 3, 4)))])
        if kind < 0.25:
            media["images"] += images([self.blobs.current()])["images"]
        if kind < 0.4 and self._posts:
            quote = {"$type": "app.bsky.embed.record", "record": self._own_ref()}
            post["embed"] = {"$type": "app.bsky.embed.recordWithMedia", "record": quote, "media": media}
        else:
            post["embed"] = media
        return post

    def _legacy_of_other_apps(self) -> tuple[str, dict[str, Any]]:
        if self.chance.random() < 0.5:
            feed = {"did": "did:web:feed.example.com", "displayName": self.chance.text(4)}
            return "app.bsky.feed.generator", feed | {"avatar": self.blobs.legacy()}
        album = [{"pages": [{"shown": [self.blobs.legacy()]}]} for _ in range(self.chance.randint(1, 6))]
        return "com.example.album", {"title": self.chance.text(5), "parts": album, "liked": self._own_ref()}

    def _deed(self, collection: str) -> tuple[str, dict[str, Any]]:
        kind = self.chance.random()
        if kind < 0.001:
            return "com.example.gallery", self._look_alikes()
        if collection == "app.bsky.graph.follow":
            return collection, {"subject": self.chance.did()}
        is_own = self._posts and kind < 0.08
        subject = self._own_ref() if is_own else self.chance.strong_ref()
        if is_own and kind < 0.004:
            subject = subject | {"cid": self.chance.cid_text()}  # of a version that is gone
        return collection, {"subject": subject}

    def _look_alikes(self) -> dict[str, Any]:
        """What is no legacy reference: a third key, no CID, no mime type, one key only."""
        cid = str(self.chance.blob_cid())
        return {
            "items": [
                {"cid": cid, "mimeType": "image/png", "size": 1},
                {"cid": cid[:-1], "mimeType": "image/png"},
                {"cid": cid, "mimeType": ""},
                {"cid": cid},
            ],
            "current": self.blobs.current(),
        }

    def _own_ref(self) -> StrongRef:
        """Of an own post, if there is one: one in twenty is one with legacy references."""
        if self._legacy_posts and self.chance.random() < 0.05:
            return self.chance.choice(self._legacy_posts)
        return self.chance.choice(self._posts) if self._posts else self.chance.strong_ref()

    def _file(
        self, number: int, collection: str, value: dict[str, Any], *, rkey: str = "", has_legacy: bool = False
    ) -> tuple[Cid, str]:
        """Put the record under its key. Returns: its CID and record key."""
        rkey = rkey or self.chance.rkey(number)
        record = {"$type": collection, "createdAt": self.chance.date()} | value
        cid, block_number = self.spool.add_value(record, self.rev_of(rkey))
        self.keys.add(collection, rkey, block_number)
        self.legacy_records += has_legacy
        self._latest[has_legacy] = collection, block_number
        return cid, rkey

    def _file_twin(self, number: int, *, has_legacy: bool) -> None:
        """The same record as before under another key: both share the block."""
        collection, block_number = self._latest[has_legacy]
        self.keys.add(collection, self.chance.rkey(number), block_number)
        self.legacy_records += has_legacy
