"""Identifiers and AT-URIs: what is made is read back, and no text is read as anything but itself."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import example, given
from hypothesis import strategies as st

from eurosky_pipeline.atproto.aturi import AtUri, AtUriError, parse_at_uri
from eurosky_pipeline.atproto.cid import cid_of
from eurosky_pipeline.atproto.formats import is_cid_text, is_datetime
from eurosky_pipeline.atproto.syntax import (
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

dids = st.from_regex(r"\Adid:(plc:[a-z2-7]{24}|web:[a-z0-9.%-]{0,40}[a-z0-9]|[a-z]{1,9}:[A-Za-z0-9._:-]{0,30}[a-z])\Z")
labels = st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9-]{0,10}[A-Za-z0-9])?\Z")
top_levels = st.from_regex(r"\A[A-Za-z]([A-Za-z0-9-]{0,5}[A-Za-z0-9])?\Z")
handles = st.builds(lambda start, end: ".".join([*start, end]), st.lists(labels, min_size=1, max_size=4), top_levels)
names = st.from_regex(r"\A[A-Za-z][A-Za-z0-9]{0,20}\Z")
nsids = st.builds(
    lambda first, middle, name: ".".join([first, *middle, name]),
    top_levels,
    st.lists(labels, min_size=1, max_size=4),
    names,
)
record_keys = st.from_regex(r"\A[A-Za-z0-9._:~-]{1,40}\Z").filter(lambda text: text not in {".", ".."})
numbers = st.integers(0, 2**53 - 1)


@given(dids, handles, nsids, record_keys)
def test_what_is_made_by_the_rules_is_accepted(did, handle, nsid, rkey):
    assert is_did(did)
    assert is_account_did(did) or did.startswith("did:plc:")
    assert is_handle(handle)
    assert is_handle(normalize_handle(handle))
    assert is_at_identifier(did)
    assert is_at_identifier(handle)
    assert is_nsid(nsid)
    assert is_record_key(rkey)
    assert is_repo_path(f"{nsid}/{rkey}")


@given(
    dids | handles,
    st.none() | nsids,
    st.none() | record_keys,
)
def test_a_uri_survives_its_text(authority, collection, rkey):
    uri = AtUri(authority, collection, rkey if collection else None)
    assert parse_at_uri(str(uri)) == uri


@given(dids, nsids, record_keys)
def test_a_records_uri_gives_back_its_path(did, nsid, rkey):
    uri = parse_at_uri(f"at://{did}/{nsid}/{rkey}")
    assert (uri.authority, uri.repo_path) == (did, f"{nsid}/{rkey}")


at_texts = st.text("at:/did.plcweb%#?AZ09-_~ \n\u00e9", max_size=40)


@given(st.text(max_size=60) | at_texts | at_texts.map("at://".__add__) | at_texts.map("at://a.b/c.d.e/".__add__))
@example("at://a.b/c.d.e/f")
def test_any_text_is_the_one_text_of_a_uri_or_an_error(text):
    try:
        uri = parse_at_uri(text)
    except AtUriError:
        return
    assert str(uri) == text


@given(numbers, st.integers(0, 1023), numbers, st.integers(0, 1023))
def test_tids_sort_as_their_moments_and_clocks_do(one, one_clock, other, other_clock):
    tids = tid_of(one, one_clock), tid_of(other, other_clock)
    assert all(map(is_tid, tids))
    assert (tids[0] < tids[1]) == ((one, one_clock) < (other, other_clock))


@given(numbers, st.integers(0, 1022))
def test_nothing_sorts_between_a_tid_and_the_next(microseconds, clock_id):
    assert next_tid(tid_of(microseconds, clock_id)) == tid_of(microseconds, clock_id + 1)


@given(
    st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29)),  # noqa: DTZ001
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_every_moment_that_python_writes_is_a_datetime(moment, offset_minutes):
    assert is_datetime(moment.replace(tzinfo=timezone(timedelta(minutes=offset_minutes))).isoformat())
    assert is_datetime(moment.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z"))


@given(st.text("0123456789-T:.Z+", max_size=30) | st.from_regex(r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z"))
def test_every_datetime_of_our_era_is_one_that_python_reads(text):
    if is_datetime(text) and text[:4] not in {"0000", "9999"}:
        datetime.fromisoformat(text)


@given(st.binary(max_size=8).map(cid_of))
def test_every_blessed_cid_is_a_cid(cid):
    assert is_cid_text(str(cid))
