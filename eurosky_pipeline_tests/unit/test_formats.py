"""Datetimes, languages, URIs and the text of CIDs, at their edges. The public lists are run in interop/."""

import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.atproto.formats import (
    MAX_CID_TEXT_LENGTH,
    MAX_DATETIME_LENGTH,
    MAX_LANGUAGE_LENGTH,
    MAX_URI_LENGTH,
    is_cid_text,
    is_datetime,
    is_language,
    is_uri,
)

GOOD = [
    (is_datetime, "1985-04-12T23:20:50.123Z"),
    (is_datetime, "1985-04-12T23:20:50+01:45"),
    (is_language, "pt-BR"),
    (is_language, "i-navajo"),
    (is_language, "x-mine"),
    (is_uri, "https://example.com/path?q=1#there"),
    (is_cid_text, str(cid_of(b""))),
    (is_cid_text, str(cid_of(b"", CODEC_RAW))),
]


@pytest.mark.parametrize(("check", "text"), GOOD)
def test_nothing_may_stand_around_a_value(check, text):
    assert check(text)
    for around in (f"{text}\n", f"\n{text}", f" {text}", f"{text} ", f"{text}\0", f"\0{text}", ""):
        assert not check(around), around


@pytest.mark.parametrize(("check", "text"), GOOD)
def test_letters_and_digits_of_other_scripts_are_no_letters_and_digits(check, text):
    for character in "\u00e9\u00df\u017f\u212a\u0130\u0131\u0663\uff13\uff41":
        for place in range(len(text)):
            assert not check(text[:place] + character + text[place + 1 :]), (character, place)


@pytest.mark.parametrize(
    ("check", "fill", "limit"),
    [
        (is_datetime, lambda n: "1985-04-12T23:20:50." + "1" * (n - 21) + "Z", MAX_DATETIME_LENGTH),
        (is_language, lambda n: "x" + "-a" * ((n - 1) // 2) + "a" * ((n - 1) % 2), MAX_LANGUAGE_LENGTH),
        (is_uri, lambda n: "a:" + "b" * (n - 2), MAX_URI_LENGTH),
        (is_cid_text, lambda n: "b" + "a" * (n - 1), MAX_CID_TEXT_LENGTH),
    ],
)
def test_the_greatest_length_is_allowed_and_one_more_is_not(check, fill, limit):
    assert (len(fill(limit)), len(fill(limit + 1))) == (limit, limit + 1)
    assert check(fill(limit))
    assert not check(fill(limit + 1))


@pytest.mark.timeout(10)
@pytest.mark.parametrize("check", [is_datetime, is_language, is_uri, is_cid_text])
@pytest.mark.parametrize("piece", ["a", "a-", "ab-", "1", "a:", "%", "%20", "-", "aaaaa-", "a-bb-", "=", "#"])
def test_no_text_takes_long_to_refuse(check, piece):
    for start in ("", "b", "x-", "en-", "a:", "1985-04-12T23:20:50."):
        hostile = start + piece * 200_000
        assert not check(hostile)
        for length in (MAX_DATETIME_LENGTH, MAX_LANGUAGE_LENGTH, MAX_CID_TEXT_LENGTH, MAX_URI_LENGTH):
            assert not any(check(hostile[: length - 1] + "\n") for _ in range(20))


@pytest.mark.parametrize(
    "moment",
    [
        "1984-02-29T00:00:00Z",
        "2000-02-29T00:00:00Z",
        "0000-02-29T00:00:00Z",
        "9999-12-31T23:59:59.999Z",
        "0000-01-01T00:00:00-00:01",
        "0000-01-01T01:00:00+01:00",
        "9999-12-31T22:59:59-01:00",
        "9999-12-31T23:59:59+23:59",
        "1985-04-12T23:59:59Z",
    ],
)
def test_a_datetime_is_a_moment_of_the_years_0_to_9999(moment):
    assert is_datetime(moment)


@pytest.mark.parametrize(
    "text",
    [
        "1985-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "1985-04-31T00:00:00Z",
        "1985-04-12T24:00:00Z",
        "1985-04-12T23:60:00Z",
        "1985-06-30T23:59:60Z",
        "0000-01-01T00:59:59+01:00",
        "9999-12-31T23:00:00-01:00",
        "1985-04-12T23:20:50+24:00",
        "1985-04-12T23:20:50+01:60",
        "1985-04-12T23:20:50-00:00",
        "1985-04-12T23:20:50,5Z",
    ],
)
def test_a_datetime_that_is_no_moment_is_refused(text):
    assert not is_datetime(text)


@pytest.mark.parametrize(
    "tag", ["zh-yue-Hant-HK", "zh-min-nan", "art-lojban", "de-1996", "sl-rozaj-1994", "en-a-bb-x-a"]
)
def test_a_language_has_the_parts_of_bcp_47(tag):
    assert is_language(tag)


@pytest.mark.parametrize(
    "tag",
    [
        "EN",
        "e",
        "en_GB",
        "en--GB",
        "en-GB-US",
        "en-a",
        "en-x",
        "x",
        "i-nothing",
        "de-1996-1996",
        "en-a-bb-A-cc",
        "en-abcdefghi",
        "zh-a-b",
        "zh-yue-yue-yue-yue",
    ],
)
def test_a_language_that_is_none_is_refused(tag):
    assert not is_language(tag)


@pytest.mark.parametrize(
    "text", ["a:b", "did:web:x", "mailto:a@b.example", "x+y.z-1:%C3%A9", "a:?", "a:b#", "http://[::1]/"]
)
def test_a_uri_is_a_scheme_and_something_behind_it(text):
    assert is_uri(text)


@pytest.mark.parametrize(
    "text", ["a:", ":b", "1a:b", "a b:c", "a:%", "a:%2", "a:%zz", "a:b#c#d", "a:<b>", 'a:"', "a:\\b"]
)
def test_what_rfc_3986_does_not_allow_is_no_uri(text):
    assert not is_uri(text)


@pytest.mark.parametrize(
    "text",
    ["b" + "a" * 6, "b" + "A" * 20, "b" + "1" * 20, "f" + "g" * 20, "z0" + "1" * 20, "Qm" + "a" * 44, "baaaaaaaa="],
)
def test_digits_of_another_base_are_no_cid(text):
    assert not is_cid_text(text)
