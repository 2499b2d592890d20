"""AT-URIs, at their edges. The public lists of good and bad ones are run in interop/."""

import dataclasses

import pytest

from eurosky_pipeline.atproto.aturi import MAX_AT_URI_LENGTH, AtUri, AtUriError, parse_at_uri
from eurosky_pipeline_tests.builders import DID

POST = "app.bsky.feed.post"
RKEY = "3jzfcijpj2z2a"


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        (f"at://{DID}", AtUri(DID)),
        (f"at://{DID}/{POST}", AtUri(DID, POST)),
        (f"at://{DID}/{POST}/{RKEY}", AtUri(DID, POST, RKEY)),
        ("at://Alice.Example/app.bsky.actor.profile/self", AtUri("Alice.Example", "app.bsky.actor.profile", "self")),
        ("at://did:plc:asdf123", AtUri("did:plc:asdf123")),
    ],
)
def test_a_uri_is_its_parts_and_its_parts_are_the_uri(text, uri):
    assert parse_at_uri(text) == uri
    assert str(uri) == text


@pytest.mark.parametrize("text", [f"at://{DID}", f"at://{DID}/{POST}", f"at://{DID}/{POST}/{RKEY}"])
def test_nothing_may_stand_around_a_uri(text):
    for around in ("\n", " ", "\0", "/", "?", "?q", "#", "#/text", "%", "//", "\u00e9"):
        for wrong in (text + around, around + text):
            with pytest.raises(AtUriError):
                parse_at_uri(wrong)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "begins with at://"),
        ("at:", "begins with at://"),
        ("AT://alice.test", "begins with at://"),
        (f"https://{DID}", "begins with at://"),
        ("at://", "neither a DID nor a handle"),
        (f"at:///{POST}/{RKEY}", "neither a DID nor a handle"),
        ("at://alice", "neither a DID nor a handle"),
        ("at://alice.test:80", "neither a DID nor a handle"),
        ("at://me@alice.test", "neither a DID nor a handle"),
        (f"at://{DID}/self", "no NSID"),
        (f"at://{DID}//{RKEY}", "no NSID"),
        (f"at://{DID}/../{RKEY}", "no NSID"),
        (f"at://{DID}/{POST}/..", "record key"),
        (f"at://{DID}/{POST}/a b", "record key"),
        (f"at://{DID}/{POST}/%61", "record key"),
        (f"at://{DID}/{POST}/{RKEY}/more", "more than a record"),
        ("a" * (MAX_AT_URI_LENGTH + 1), "8193 characters"),
    ],
)
def test_a_refusal_names_the_part_at_fault(text, why):
    with pytest.raises(AtUriError, match=why):
        parse_at_uri(text)


def test_parts_that_are_none_make_no_uri():
    for parts in (("alice",), (DID, "post"), (DID, POST, ""), (DID, "", None)):
        with pytest.raises(AtUriError):
            AtUri(*parts)
    with pytest.raises(AtUriError, match="no collection"):
        AtUri(DID, None, RKEY)


def test_a_uri_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse_at_uri(f"at://{DID}").authority = "alice.test"


def test_a_record_is_named_by_did_collection_and_key():
    uri = AtUri(DID, POST, RKEY)
    assert str(uri) == f"at://{DID}/{POST}/{RKEY}"
    assert uri.repo_path == f"{POST}/{RKEY}"
    assert AtUri(DID).repo_path is None
    assert AtUri(DID, POST).repo_path is None


def test_the_longest_parts_make_a_uri_within_the_limit():
    text = "at://did:web:" + "a" * 2040 + "/" + "a." * 126 + "a" + "." + "b" * 63 + "/" + "c" * 512
    assert str(parse_at_uri(text)) == text
    assert len(text) < MAX_AT_URI_LENGTH


def test_a_refusal_shows_little_of_a_long_text():
    for text in ("a" * 100_000, "at://" + "a" * 8000, "at://" + "a." * 4000, f"at://{DID}/{POST}/" + "a" * 7000):
        with pytest.raises(AtUriError) as refusal:
            parse_at_uri(text)
        assert len(refusal.value.message) < 250


@pytest.mark.timeout(10)
@pytest.mark.parametrize("piece", ["a", "/", "a.", "at://", "did:", "%", "-", "a/"])
def test_no_text_takes_long_to_refuse(piece):
    for start in ("", "at://", "at://did:web:", f"at://{DID}/", f"at://{DID}/{POST}/"):
        hostile = start + piece * 200_000
        for text in (hostile, *[hostile[: MAX_AT_URI_LENGTH - 1] + "!"] * 20):
            with pytest.raises(AtUriError):
                parse_at_uri(text)
