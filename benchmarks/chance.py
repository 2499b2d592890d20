"""Random values as they stand in records: strangers' DIDs, links, dates, words, posts. A seed decides them all."""

import random
import string
from typing import Any

from eurosky_pipeline.atproto.cid import RAW_PREFIX, Cid
from eurosky_pipeline.atproto.syntax import tid_of

_FIRST_MICROSECONDS = 1_600_000_000_000_000
_STEP_MICROSECONDS = 7_000_000
_OTHER_SCRIPTS = ("これは写真です", "🌦️🦋", "blåbærgrød", "Привет", "naïveté", "ὠδή")
_BASE32 = b"abcdefghijklmnopqrstuvwxyz234567" * 8
_TID_ALPHABET = "234567abcdefghijklmnopqrstuvwxyz"
_TID_LETTERS = _TID_ALPHABET.encode() * 8
_MONTH_MS = 28 * 86_400_000  # the shortest: every month has these days
_MAX_BLOB_BYTES = 10**6
_MIME_TYPES = ("image/jpeg",) * 8 + ("image/png", "image/webp")


class Chance(random.Random):
    """Dice that know what a record is made of."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._words = ["".join(self.choices(string.ascii_lowercase, k=self.randint(2, 9))) for _ in range(2000)]
        self._words += _OTHER_SCRIPTS

    def collection(self) -> str:
        """What people do most is to like."""
        return self.choices(
            ("app.bsky.feed.like", "app.bsky.feed.post", "app.bsky.graph.follow", "app.bsky.feed.repost"),
            cum_weights=(50, 80, 92, 100),
        )[0]

    def rkey(self, number: int) -> str:
        """The key of the `number`th record, seven seconds or so after the one before."""
        return tid_of(
            _FIRST_MICROSECONDS + number * _STEP_MICROSECONDS + self.randrange(1_000_000), self.randrange(1024)
        )

    def post(self) -> dict[str, Any]:
        """A post without its `$type` and date: some are replies to strangers, some have a picture."""
        post: dict[str, Any] = {"text": self.text(40), "langs": ["en"]}
        if self.random() < 0.4:
            parent = self.strong_ref()
            post["reply"] = {"root": parent, "parent": parent}
        if self.random() < 0.2:
            post["embed"] = images([self.blob_ref()])
        if self.random() < 0.3:
            tag = {"$type": "app.bsky.richtext.facet#tag", "tag": "tag"}
            post["facets"] = [{"index": {"byteStart": 3, "byteEnd": 20}, "features": [tag]}]
        return post

    def text(self, most_words: int) -> str:
        return " ".join(self.choices(self._words, k=self.randint(3, most_words)))

    def strong_ref(self) -> dict[str, str]:
        """Of a stranger's post."""
        rkey = "3j" + self.letters(11, _TID_LETTERS)
        return {"cid": self.cid_text(), "uri": f"at://{self.did()}/app.bsky.feed.post/{rkey}"}

    def did(self) -> str:
        return "did:plc:" + self.letters(24)

    def cid_text(self) -> str:
        """A record's CID. Made of letters, since to encode 36 bytes takes ten times as long."""
        first, last = self.choice("abcdefgh"), self.choice("aeimquy4")  # where the digest's bits do not fill a letter
        return f"bafyrei{first}{self.letters(50)}{last}"

    def letters(self, count: int, alphabet: bytes = _BASE32) -> str:
        return self.randbytes(count).translate(alphabet).decode()

    def blob_ref(self) -> dict[str, Any]:
        """In the current form."""
        size_bytes = self.randrange(1, _MAX_BLOB_BYTES)
        return {"$type": "blob", "ref": self.blob_cid(), "mimeType": self.choice(_MIME_TYPES), "size": size_bytes}

    def blob_cid(self) -> Cid:
        return Cid(RAW_PREFIX + self.randbytes(32))

    def date(self) -> str:
        month, rest_ms = divmod(self.randrange(12 * _MONTH_MS), _MONTH_MS)
        minutes, rest_ms = divmod(rest_ms, 60_000)
        hours, minute = divmod(minutes, 60)
        day, hour = divmod(hours, 24)
        return f"2023-{month + 1:02}-{day + 1:02}T{hour:02}:{minute:02}:{rest_ms // 1000:02}.{rest_ms % 1000:03}Z"


def number_of(rkey: str) -> int:
    """Of which record `Chance.rkey` has made this key."""
    number = 0
    for letter in rkey:
        number = number << 5 | _TID_ALPHABET.index(letter)
    return ((number >> 10) - _FIRST_MICROSECONDS) // _STEP_MICROSECONDS


def images(pictures: list[Any]) -> dict[str, Any]:
    """The embed of a post that shows these blobs."""
    ratio = {"width": 1000, "height": 750}
    shown = [{"alt": "a picture", "image": picture, "aspectRatio": ratio} for picture in pictures]
    return {"$type": "app.bsky.embed.images", "images": shown}
