"""Identifiers as text, at their edges. The public lists of good and bad ones are run in interop/."""

import pytest

from eurosky_pipeline.atproto.syntax import (
    MAX_DID_LENGTH,
    MAX_HANDLE_LENGTH,
    MAX_NSID_LENGTH,
    is_account_did,
    is_at_identifier,
    is_did,
    is_handle,
    is_nsid,
    is_record_key,
    is_repo_path,
    is_tid,
    next_tid,
    normalize_handle,
    tid_of,
)
from eurosky_pipeline_tests.builders import DID

GOOD = [
    (is_did, DID),
    (is_account_did, DID),
    (is_at_identifier, DID),
    (is_at_identifier, "alice.test"),
    (is_handle, "alice.test"),
    (is_nsid, "app.bsky.feed.post"),
    (is_record_key, "self"),
    (is_tid, "3jzfcijpj2z2a"),
    (is_repo_path, "app.bsky.feed.post/3jzfcijpj2z2a"),
]


@pytest.mark.parametrize(("check", "text"), GOOD)
def test_nothing_may_stand_around_an_identifier(check, text):
    assert check(text)
    for around in (f"{text}\n", f"\n{text}", f" {text}", f"{text} ", f"{text}\0", f"{text}/", f"/{text}", ""):
        assert not check(around), around


@pytest.mark.parametrize(("check", "text"), GOOD)
def test_letters_and_digits_of_other_scripts_are_no_letters_and_digits(check, text):
    for character in "\u00e9\u00df\u017f\u212a\u0130\u0131\u0663\uff13\uff41":
        assert not check(text[:-1] + character), character


@pytest.mark.parametrize(
    "did",
    [
        "did:plc:" + "a" * 23,
        "did:plc:" + "a" * 25,
        "did:plc:" + "A" * 24,
        "did:plc:" + "a" * 23 + "1",
        "did:plc:" + "a" * 23 + "8",
        "did:plc:",
        "did:plc",
    ],
)
def test_an_accounts_plc_did_has_24_characters_of_base32(did):
    assert not is_account_did(did)


@pytest.mark.parametrize("did", ["did:plc:asdf123", "did:plc:" + "A" * 24, "did:plc:a:b"])
def test_a_did_of_a_strangers_record_is_looked_at_as_syntax_alone(did):
    assert is_did(did)
    assert is_at_identifier(did)
    assert not is_account_did(did)


@pytest.mark.parametrize("did", [DID, "did:web:example.com", "did:web:localhost%3A1234", "did:example:x", "did:plcx:a"])
def test_an_account_may_have_a_did_of_any_method(did):
    assert is_did(did)
    assert is_account_did(did)


@pytest.mark.parametrize("text", ["did.test", "did-x.example"])
def test_a_handle_may_begin_like_a_did(text):
    assert is_at_identifier(text)
    assert not is_did(text)


@pytest.mark.parametrize(
    ("handle", "normalized"), [("alice.test", "alice.test"), ("XX.LCS.MIT.EDU", "xx.lcs.mit.edu"), ("A.Co", "a.co")]
)
def test_a_handle_is_compared_in_lower_case(handle, normalized):
    assert normalize_handle(handle) == normalized


@pytest.mark.parametrize("text", ["", "alice", "alice.test.", DID, "\u212aelvin.test"])
def test_what_is_no_handle_has_no_normal_form(text):
    with pytest.raises(ValueError, match="not a handle"):
        normalize_handle(text)


@pytest.mark.parametrize(
    ("check", "fill", "limit"),
    [
        (is_did, lambda n: "did:web:" + "a" * (n - 8), MAX_DID_LENGTH),
        (is_account_did, lambda n: "did:web:" + "a" * (n - 8), MAX_DID_LENGTH),
        (is_handle, lambda n: "a." * ((n - 3) // 2) + "a" * (1 + (n - 3) % 2) + ".b", MAX_HANDLE_LENGTH),
        (is_nsid, lambda n: "a." * ((n - 3) // 2) + "a" * (1 + (n - 3) % 2) + ".b", MAX_NSID_LENGTH),
        (is_record_key, lambda n: "a" * n, 512),
    ],
)
def test_the_greatest_length_is_allowed_and_one_more_is_not(check, fill, limit):
    assert len(fill(limit)) == limit
    assert check(fill(limit))
    assert not check(fill(limit + 1))


@pytest.mark.timeout(10)
@pytest.mark.parametrize("check", dict.fromkeys(check for check, _ in GOOD))
@pytest.mark.parametrize("piece", ["a", "a-", "a.", "did:", "-", "a" * 63 + ".", "%", "2", "a/"])
def test_no_text_takes_long_to_refuse(check, piece):
    for start in ("", "did:web:", "did:plc:", "a.b.", "a.b.c/"):
        hostile = start + piece * 200_000
        assert not check(hostile)
        for length in (253, 317, 512, 2048):  # the longest that some check looks into
            assert not any(check(hostile[: length - 1] + "!") for _ in range(20))


@pytest.mark.parametrize(
    "path",
    [
        "app.bsky.feed.post",
        "app.bsky.feed.post/",
        "/self",
        "app.bsky.feed.post/self/more",
        "app.bsky.feed.post//self",
        "app.bsky/self",
        "k/00",
        "app.bsky.feed.post/.",
        "app.bsky.feed.post/..",
        "app.bsky.feed.post/a b",
        "../app.bsky.feed.post",
    ],
)
def test_a_repo_path_is_a_collection_and_a_record_key(path):
    assert not is_repo_path(path)


@pytest.mark.parametrize(
    ("microseconds", "clock_id", "tid"),
    [
        (0, 0, "2222222222222"),
        (0, 1023, "22222222222zz"),
        (2**53 - 1, 1023, "bzzzzzzzzzzzz"),
        (1_700_000_000_000_000, 0, "3ke6kg3wk2222"),
    ],
)
def test_a_tid_is_microseconds_and_a_clock_id(microseconds, clock_id, tid):
    assert tid_of(microseconds, clock_id) == tid
    assert is_tid(tid)


@pytest.mark.parametrize(("microseconds", "clock_id"), [(-1, 0), (2**53, 0), (0, -1), (0, 1024)])
def test_a_tid_that_does_not_fit_is_not_made(microseconds, clock_id):
    with pytest.raises(ValueError, match="TID"):
        tid_of(microseconds, clock_id)


def test_tids_sort_as_their_moments_do():
    moments = [0, 1, 31, 32, 1023, 1024, 10**6, 10**12, 1_700_000_000_000_000, 2**53 - 1]
    tids = [tid_of(moment, clock_id) for moment in moments for clock_id in (0, 1, 1023)]
    assert tids == sorted(tids)
    assert len(set(tids)) == len(tids)


@pytest.mark.parametrize(
    ("tid", "successor"),
    [
        ("2222222222222", "2222222222223"),
        ("3jzfcijpj2z2z", "3jzfcijpj2z32"),
        ("3jzfcijpj2zzz", "3jzfcijpj3222"),
        ("7zzzzzzzzzzzz", "a222222222222"),
        ("bzzzzzzzzzzzz", "c222222222222"),
        ("jzzzzzzzzzzzy", "jzzzzzzzzzzzz"),
    ],
)
def test_the_next_tid_is_the_one_right_after(tid, successor):
    assert next_tid(tid) == successor
    assert is_tid(successor)


def test_the_last_tid_of_all_has_no_next():
    assert is_tid("jzzzzzzzzzzzz")
    with pytest.raises(ValueError, match="no later"):
        next_tid("jzzzzzzzzzzzz")


@pytest.mark.parametrize("text", ["", "self", "3jzfcijpj2z21", "kzzzzzzzzzzzz"])
def test_what_is_no_tid_has_no_next(text):
    with pytest.raises(ValueError, match="not a TID"):
        next_tid(text)
