"""Strong references: which ones follow the record that they name, and how far that goes."""

from typing import Any

import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.atproto.verify import verify_car
from eurosky_pipeline_tests import plain_convert
from eurosky_pipeline_tests.builders import (
    DID,
    OTHER_DID,
    make_block,
    make_car,
    make_post,
    make_repo,
    make_repo_car,
    make_strong_ref,
)
from eurosky_pipeline_tests.converting import LEGACY, PICTURE, POST, SIZES, Outcome, convert, saved

PICTURE_KEY = f"{POST}/3aaaaaaaaaaa2"
OLD_REF = make_strong_ref(PICTURE_KEY, make_block(PICTURE)[0])
LATER, EARLIER = f"{POST}/3zzzzzzzzzzz2", "app.bsky.actor.profile/self"
both_orders = pytest.mark.parametrize("key", [EARLIER, LATER], ids=["before it", "behind it"])

Records = dict[str, Any]


def converted(records: Records, **options: Any) -> tuple[Outcome, Records, dict[str, Cid]]:
    """Convert a repository of these records; what came out: the records and their CIDs."""
    data = make_repo_car(records)
    outcome = convert(data, SIZES, **options)
    after = plain_convert.read(outcome.data or data)
    return outcome, after.records, after.cids


def with_one(record: dict[str, Any], key: str = LATER) -> tuple[Outcome, dict[str, Any], dict[str, str]]:
    """Convert a post with a picture and this record; what became of the record, and the reference that is right now."""
    outcome, records, cids = converted({PICTURE_KEY: PICTURE, key: record})
    return outcome, records[key], make_strong_ref(PICTURE_KEY, cids[PICTURE_KEY])


WRAPPED = {
    "a like": lambda ref: {"$type": "app.bsky.feed.like", "subject": ref, "createdAt": "2023-01-01T00:00:00Z"},
    "a reply": lambda ref: make_post(reply={"root": ref, "parent": ref}),
    "a quote with a picture": lambda ref: make_post(
        embed={"record": {"$type": "app.bsky.embed.record", "record": ref}, "media": {"images": [{"alt": ""}]}}
    ),
    "a profile": lambda ref: {"$type": "app.bsky.actor.profile", "pinnedPost": ref},
    "an unknown record": lambda ref: {"x": [[{"": [ref]}]]},
    "a list that has it twice": lambda ref: {"x": [ref, ref]},
    "a record that is nothing but the reference": lambda ref: ref,
    "a record that begins as a tree's node does": lambda ref: {"e": [ref], "l": None},
    "a reference with a kind": lambda ref: {"subject": ref | {"$type": "com.atproto.repo.strongRef"}},
    "a reference with more fields": lambda ref: {"subject": ref | {"mimeType": "image/jpeg", "size": 5}},
    "a reference in a reference": lambda ref: {"subject": ref | {"via": ref}},
    "a reference in one of another account": lambda ref: {
        "subject": {"uri": "at://alice.example.com/a.b.c/d", "cid": OLD_REF["cid"], "via": ref}
    },
}


@both_orders
@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_a_reference_to_a_converted_record_follows_it(wrap, key):
    outcome, record, new_ref = with_one(wrap(OLD_REF), key)
    assert new_ref != OLD_REF
    assert record == wrap(new_ref)
    assert outcome.conversion.strong_refs_rewritten == str(wrap({"uri": "", "cid": "", "!": 1})).count("!")
    assert outcome.conversion.records_changed == 2


CID = OLD_REF["cid"]
LEFT_ALONE: dict[str, Any] = {
    "whose CID did not match": OLD_REF | {"cid": str(cid_of(b"an older version"))},
    "whose CID is the new one": OLD_REF | {"cid": "the new one"},
    "whose CID is empty": OLD_REF | {"cid": ""},
    "whose CID is a link": OLD_REF | {"cid": make_block(PICTURE)[0]},
    "whose CID is null": OLD_REF | {"cid": None},
    "whose CID is in upper case": OLD_REF | {"cid": CID.upper()},
    "whose CID has a blank": OLD_REF | {"cid": CID + " "},
    "without a CID": {"uri": OLD_REF["uri"]},
    "without a URI": {"cid": CID},
    "whose URI is null": OLD_REF | {"uri": None},
    "whose URI is a number": OLD_REF | {"uri": 1},
    "whose URI is a list": OLD_REF | {"uri": [OLD_REF["uri"]]},
    "whose URI is empty": OLD_REF | {"uri": ""},
    "whose URI names the account by its handle": OLD_REF | {"uri": f"at://alice.example.com/{PICTURE_KEY}"},
    "whose URI names another account": make_strong_ref(PICTURE_KEY, make_block(PICTURE)[0], did=OTHER_DID),
    "whose URI names the account alone": OLD_REF | {"uri": f"at://{DID}"},
    "whose URI names the account and nothing more": OLD_REF | {"uri": f"at://{DID}/"},
    "whose URI names the collection": OLD_REF | {"uri": f"at://{DID}/{POST}"},
    "whose URI names a record that is not there": OLD_REF | {"uri": f"at://{DID}/{POST}/3bbbbbbbbbbb2"},
    "whose URI ends in a slash": OLD_REF | {"uri": OLD_REF["uri"] + "/"},
    "whose URI has a fragment": OLD_REF | {"uri": OLD_REF["uri"] + "#/text"},
    "whose URI has a query": OLD_REF | {"uri": OLD_REF["uri"] + "?a=b"},
    "whose URI has a blank before it": OLD_REF | {"uri": " " + OLD_REF["uri"]},
    "whose URI is in upper case": OLD_REF | {"uri": OLD_REF["uri"].upper()},
    "whose URI is of another scheme": OLD_REF | {"uri": OLD_REF["uri"].replace("at://", "https://")},
    "whose URI names the DID's beginning": OLD_REF | {"uri": OLD_REF["uri"].replace(DID, DID[:-1])},
    "whose fields have other names": {"URI": OLD_REF["uri"], "CID": CID},
    "that is a URI in a text": OLD_REF["uri"],
    "that is a list of the two": [OLD_REF["uri"], CID],
    "that is JSON in a text": '{"cid":"' + CID + '","uri":"' + OLD_REF["uri"] + '"}',
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_a_reference_is_not_touched(name):
    value = LEFT_ALONE[name]
    if name == "whose CID is the new one":
        value = with_one({})[2]
    outcome, record, _ = with_one({"subject": value})
    assert record == {"subject": value}
    assert outcome.conversion.strong_refs_rewritten == 0
    assert outcome.conversion.records_changed == 1


def test_a_wrong_reference_is_left_and_a_right_one_beside_it_rewritten():
    for value in LEFT_ALONE.values():
        outcome, record, new_ref = with_one({"subject": [value, OLD_REF]})
        assert record == {"subject": [value, new_ref]}
        assert outcome.conversion.strong_refs_rewritten == 1


def test_a_reference_to_a_record_that_does_not_change_stays():
    plain = make_post("no picture")
    like = {"subject": make_strong_ref(f"{POST}/a", make_block(plain)[0])}
    outcome, records, _ = converted({PICTURE_KEY: PICTURE, f"{POST}/a": plain, LATER: like})
    assert records[LATER] == like
    assert (outcome.conversion.records_changed, outcome.conversion.strong_refs_rewritten) == (1, 0)


def test_a_reference_to_a_record_whose_picture_is_kept_stays():
    data = make_repo_car({PICTURE_KEY: PICTURE, LATER: {"subject": OLD_REF}})
    assert convert(data, {}).data is None


def test_what_refers_to_what_refers_follows_too():
    """A like of a reply to a post with a picture."""
    reply = make_post(reply={"root": OLD_REF, "parent": OLD_REF})
    reply_key = f"{POST}/3bbbbbbbbbbb2"
    like = {"subject": make_strong_ref(reply_key, make_block(reply)[0])}
    outcome, records, cids = converted({PICTURE_KEY: PICTURE, reply_key: reply, EARLIER: like})
    new_ref = make_strong_ref(PICTURE_KEY, cids[PICTURE_KEY])
    assert records[reply_key] == make_post(reply={"root": new_ref, "parent": new_ref})
    assert records[EARLIER] == {"subject": make_strong_ref(reply_key, cids[reply_key])}
    assert (outcome.conversion.records_changed, outcome.conversion.strong_refs_rewritten) == (3, 3)


def thread(length: int, keys: list[str]) -> Records:
    """Posts that answer each other, the first one with a picture."""
    records, ref, root = {keys[0]: PICTURE}, make_strong_ref(keys[0], make_block(PICTURE)[0]), None
    for number in range(1, length):
        root = root or ref
        post = make_post(f"{number} of {length}", reply={"root": root, "parent": ref})
        records[keys[number]] = post
        ref = make_strong_ref(keys[number], make_block(post)[0])
    return records


@pytest.mark.parametrize("step", [1, -1, 7], ids=["in key order", "against it", "across it"])
def test_a_thread_of_50_posts_moves_whole(step):
    keys = [f"{POST}/{number * step % 53:04}" for number in range(1, 51)]
    outcome, records, cids = converted(thread(50, keys))
    for key, parent in zip(keys[1:], keys, strict=False):
        assert records[key]["reply"]["parent"] == make_strong_ref(parent, cids[parent])
        assert records[key]["reply"]["root"] == make_strong_ref(keys[0], cids[keys[0]])
    assert (outcome.conversion.records_changed, outcome.conversion.strong_refs_rewritten) == (50, 98)


def test_a_record_with_a_picture_of_its_own_and_a_reference_has_both_made_right():
    outcome, record, new_ref = with_one({"image": LEGACY, "subject": OLD_REF})
    assert record["subject"] == new_ref
    assert record["image"]["$type"] == "blob"
    assert (outcome.conversion.records_changed, outcome.conversion.strong_refs_rewritten) == (2, 1)


def test_two_ways_to_the_same_record_both_arrive():
    """A diamond: the like names the reply and the quote, which both name the picture."""
    reply, quote = make_post(reply={"parent": OLD_REF}), make_post(embed={"record": OLD_REF})
    refs = [make_strong_ref(f"{POST}/{name}", make_block(value)[0]) for name, value in (("r", reply), ("q", quote))]
    _, records, cids = converted({PICTURE_KEY: PICTURE, f"{POST}/r": reply, f"{POST}/q": quote, LATER: {"x": refs}})
    assert records[LATER] == {"x": [make_strong_ref(f"{POST}/{name}", cids[f"{POST}/{name}"]) for name in "rq"]}


def test_two_keys_of_one_block_are_both_converted_and_references_to_either_follow():
    other_key = f"{POST}/3aaaaaaaaaaa3"
    other_ref = make_strong_ref(other_key, make_block(PICTURE)[0])
    records = {PICTURE_KEY: PICTURE, other_key: PICTURE, LATER: {"x": [OLD_REF, other_ref]}}
    outcome, after, cids = converted(records)
    assert cids[PICTURE_KEY] == cids[other_key]
    assert after[LATER] == {"x": [make_strong_ref(key, cids[key]) for key in (PICTURE_KEY, other_key)]}
    assert outcome.conversion.records_changed == 3
    assert outcome.counts["refs_converted"] == 2


def test_two_keys_of_one_block_that_refers_are_both_rewritten():
    like = {"subject": OLD_REF}
    outcome, after, cids = converted({PICTURE_KEY: PICTURE, EARLIER: like, LATER: like})
    assert cids[EARLIER] == cids[LATER]
    assert after[LATER] == {"subject": make_strong_ref(PICTURE_KEY, cids[PICTURE_KEY])}
    assert (outcome.conversion.records_changed, outcome.conversion.strong_refs_rewritten) == (3, 2)


def test_a_did_of_another_method_is_an_account_too():
    did = "did:web:example.com"
    like = {"subject": make_strong_ref(PICTURE_KEY, make_block(PICTURE)[0], did=did), "other": OLD_REF}
    outcome = convert(make_repo_car({PICTURE_KEY: PICTURE, LATER: like}, did=did), SIZES)
    after = plain_convert.read(outcome.data)
    new_ref = make_strong_ref(PICTURE_KEY, after.cids[PICTURE_KEY], did=did)
    assert after.records[LATER] == {"subject": new_ref, "other": OLD_REF}


def test_an_orphan_that_refers_is_nobodys_business():
    data = make_repo_car({PICTURE_KEY: PICTURE}, orphans=[{"subject": OLD_REF}])
    assert convert(data, SIZES).conversion.strong_refs_rewritten == 0


def test_a_map_that_is_a_legacy_reference_and_names_a_uri_is_a_strong_reference_alone():
    """`cid` here is the record's, and with three keys it is no blob's."""
    value = OLD_REF | {"mimeType": "image/jpeg"}
    outcome, record, new_ref = with_one({"x": value})
    assert record == {"x": new_ref | {"mimeType": "image/jpeg"}}
    assert outcome.counts["refs_found"] == 1


def test_a_reference_behind_text_that_looks_like_one_is_rewritten():
    outcome, like, right = with_one({"subject": {"a": "ccidx;b" + "a" * 53, **OLD_REF}})
    assert outcome.conversion.strong_refs_rewritten == 1
    assert like["subject"]["cid"] == right["cid"]


def test_the_raw_twin_of_a_record_that_names_a_converted_one_does_not_stand_in_for_it():
    repo = make_repo({PICTURE_KEY: PICTURE, LATER: {"subject": OLD_REF}})
    _, block = make_block({"subject": OLD_REF})
    twin = (cid_of(block, CODEC_RAW), block)
    outcome = convert(make_car(repo.root, [repo.commit, twin, *repo.blocks[1:]]), SIZES)
    assert outcome.data is not None
    with saved(outcome.data) as path:
        assert verify_car(path).orphan_blocks == 0


def test_a_record_that_names_thousands_has_each_reference_rewritten():
    named = {f"a.b.c/{number:06d}": make_post(f"{number}", image=LEGACY) for number in range(3_000)}
    naming = {"refs": [make_strong_ref(key, make_block(value)[0]) for key, value in named.items()]}
    outcome, records, cids = converted({**named, "z.b.c/aaa": naming})
    assert outcome.conversion.strong_refs_rewritten == 3_000
    assert [ref["cid"] for ref in records["z.b.c/aaa"]["refs"]] == [str(cids[key]) for key in named]
