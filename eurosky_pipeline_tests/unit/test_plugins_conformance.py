"""The conformance kit: it finds every promise that a record transform breaks, and lets the sound ones pass."""

from types import MappingProxyType

import pytest

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.convert.legacy_blobs import LegacyBlobs
from eurosky_pipeline.errors import FatalError, PermanentError
from eurosky_pipeline.plugins.conformance import ConformanceError, check_record_transform
from eurosky_pipeline.plugins.record_transforms import RecordTransform, UnknownSize
from eurosky_pipeline_tests.builders import DID, make_blob_ref, make_legacy_blob_ref, make_post

POSTS = [make_post("one"), make_post("two"), make_post("TWO")]


class Sound(RecordTransform):
    """Writes posts in lower case; each test makes one step of it wrong."""

    name = "lower_case"
    version = "1"

    def transform(self, uri, record):
        if isinstance(record.get("text"), str):
            record["text"] = record["text"].lower()
        return record

    def counts(self):
        return {"posts": 3}


def scan_of_all_but_capitals(self, block):
    return b"TWO" not in block


def scan_that_decodes(self, block):
    return dag_cbor.decode(block)["text"] != ""


def survey_that_changes(self, record):
    record["seen"] = True


def survey_that_leaves_what_is_none(self, record):
    record["seen"] = 1.5


def survey_that_raises(self, record):
    raise LookupError(record["text"])


def prepare_that_asks(self, context):
    if context.blob_sizes([cid_of(b"x", CODEC_RAW)]) == {}:
        raise FatalError("a size is not known", code="x", hint="x")


def transform_of_the_nth(self, uri, record):
    self.number = getattr(self, "number", 0) + 1
    return record | {"number": self.number}


def transform_of_the_first(self, uri, record):
    self.first = getattr(self, "first", uri)
    return record | {"is_first": uri == self.first}


def transform_by_chance(self, uri, record):
    return record | {"it": id(object()) + id(self)}


def transform_that_forgets(self, uri, record):
    record["text"] = "changed"


def transform_that_prints(self, uri, record):
    print(uri)
    return record


def transform_that_refuses(self, uri, record):
    raise PermanentError("not this one", code="x")


def transform_into(value):
    return lambda self, uri, record: value


BROKEN = [
    ({"name": "Lower Case"}, "the plugin offers .* whose name is 'Lower Case'"),
    ({"version": 1}, "the plugin offers lower_case, whose version is a int"),
    ({"__init__": lambda self: 1 / 0}, "cannot make lower_case: ZeroDivisionError"),
    ({"scan": lambda self, block: block.find(b"text")}, r"scan\(a commit\) gives a int, which is no bool"),
    ({"scan": scan_of_all_but_capitals}, r"scan says no to at://did:plc:\w+/app.bsky.feed.post/2, which transform"),
    ({"scan": scan_that_decodes}, r"scan\(a commit\) raises KeyError"),
    ({"scan": lambda self, block: block[0] > 0}, r"scan\(what is empty\) raises IndexError"),
    ({"survey": survey_that_changes}, r"survey\(at://\S+/0\) changes the record"),
    ({"survey": survey_that_leaves_what_is_none}, r"survey\(at://\S+/0\) leaves what is no record: a float"),
    ({"survey": survey_that_raises}, r"survey\(at://\S+/0\) raises LookupError: one"),
    ({"prepare": prepare_that_asks}, "prepare raises FatalError: a size is not known"),
    ({"transform": transform_of_the_nth}, r"transform\(at://\S+/0\) gives another record when all come in reverse"),
    ({"transform": transform_of_the_first}, r"gives another record when all come in reverse"),
    ({"transform": transform_by_chance}, r"transform\(at://\S+/0\) gives another record"),
    ({"transform": transform_that_forgets}, r"transform\(at://\S+/0\) gives a NoneType, which is no dict"),
    ({"transform": transform_into([])}, "gives a list, which is no dict"),
    ({"transform": transform_into(MappingProxyType({}))}, "gives a mappingproxy, which is no dict"),
    ({"transform": transform_into({"ratio": 0.5})}, r"transform\(at://\S+/0\) gives what is no record: a float"),
    ({"transform": transform_into({"pair": (1, 2)})}, "gives what is no record: .*tuple"),
    ({"transform": transform_into({1: 2})}, "gives what is no record: a map key that is not a string"),
    ({"transform": transform_that_prints}, r"transform\(at://\S+/0\) prints on stdout"),
    ({"transform": transform_that_refuses}, r"transform\(at://\S+/0\) raises PermanentError: not this one"),
    ({"counts": lambda self: None}, "counts must give names"),
    ({"counts": lambda self: {"a": -1}}, "counts must give names"),
    ({"counts": lambda self: {"a": True}}, "counts must give names"),
    ({"counts": lambda self: {1: 1}}, "counts must give names"),
    ({"counts": lambda self: 1 / 0}, "counts raises ZeroDivisionError"),
]


@pytest.mark.parametrize(("wrong", "why"), BROKEN, ids=[why for _, why in BROKEN])
def test_a_broken_promise_is_found_and_its_place_is_told(wrong, why):
    with pytest.raises(ConformanceError, match=why):
        check_record_transform(type("Wrong", (Sound,), wrong), POSTS)


def test_a_sound_transform_passes_in_silence(capsys):
    assert check_record_transform(Sound, POSTS) is None
    assert capsys.readouterr().out == ""


def test_what_breaks_a_promise_fails_a_test_as_an_assertion_does():
    assert issubclass(ConformanceError, AssertionError)


def test_a_factory_that_shares_its_instance_is_found():
    shared = Sound()
    factory = type("Factory", (), {"name": "lower_case", "version": "1", "__call__": lambda self: shared})()
    with pytest.raises(ConformanceError, match="the same instance twice"):
        check_record_transform(factory, POSTS)


def test_a_record_that_changes_on_the_second_call_is_found():
    class Toggle(Sound):
        def transform(self, uri, record):
            calls = self.__dict__.setdefault(uri, [])
            calls.append(1)
            return record | {"calls": len(calls)}

    with pytest.raises(ConformanceError, match="gives another record the second time"):
        check_record_transform(Toggle, POSTS)


def test_a_transform_that_needs_a_record_to_prepare_is_found():
    class Needy(Sound):
        def survey(self, record):
            self.longest = max(getattr(self, "longest", 0), len(record["text"]))

        def prepare(self, context):
            assert self.longest

    with pytest.raises(ConformanceError, match="prepare raises AttributeError"):
        check_record_transform(Needy, POSTS)


def test_a_conversion_may_be_ended_where_unknown_sizes_shall_fail_it_and_nowhere_else():
    class Strict(Sound):
        policy = UnknownSize.FAIL

        def prepare(self, context):
            if context.unknown_size is self.policy:
                raise FatalError("a size is not known", code="x", hint="x")

    check_record_transform(Strict, POSTS)
    for policy in (UnknownSize.KEEP, UnknownSize.SENTINEL):
        Strict.policy = policy
        with pytest.raises(ConformanceError, match="prepare raises FatalError"):
            check_record_transform(Strict, POSTS)


def test_the_steps_come_in_the_order_of_a_conversion_and_survey_sees_what_others_want_too():
    steps = []

    class Watched(Sound):
        def scan(self, block):
            steps.append("scan")
            return False

        def survey(self, record):
            steps.append("survey")

        def prepare(self, context):
            steps.append("prepare")

        def transform(self, uri, record):
            steps.append("transform")
            return record

        def counts(self):
            steps.append("counts")
            return {}

    check_record_transform(Watched, [make_post()])
    first = steps[: steps.index("counts") + 1]
    assert first == ["scan"] * first.count("scan") + ["survey", "prepare", "transform", "counts"]


def test_sizes_are_told_as_far_as_the_author_gives_them():
    asked = []
    known, unknown, other = (cid_of(data, CODEC_RAW) for data in (b"known", b"unknown", b"other"))

    class Asking(Sound):
        def prepare(self, context):
            asked.append(context.blob_sizes([known, unknown]))

    check_record_transform(Asking, POSTS, blob_sizes={known: 5, other: 6})
    assert asked
    assert all(answer == {known: 5} for answer in asked)


def test_records_come_with_their_uris_where_a_transform_looks_at_them():
    seen = set()

    class Watched(Sound):
        def transform(self, uri, record):
            seen.add(uri)
            return record

    uris = {f"at://{DID}/app.bsky.feed.post/3jzfcijpj2z2a", f"at://{DID}/app.bsky.actor.profile/self"}
    check_record_transform(Watched, {uri: make_post() for uri in uris})
    assert seen == uris


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([], "no records"),
        ({}, "no records"),
        (make_post(), "no AT-URI"),
        ({f"at://{DID}/app.bsky.feed.post": make_post()}, "names no record"),
        ([{"ratio": 0.5}], "a float"),
    ],
)
def test_records_that_are_none_are_the_authors_fault_and_not_the_transforms(records, why):
    with pytest.raises(ValueError, match=why):
        check_record_transform(Sound, records)


def test_the_built_in_transform_keeps_its_promises():
    current = make_blob_ref(b"both")
    check_record_transform(
        LegacyBlobs,
        [
            make_post(embed={"images": [make_legacy_blob_ref(b"told"), make_legacy_blob_ref(b"both")]}),
            make_post(embed={"images": [current, make_legacy_blob_ref(b"unknown")]}),
            make_legacy_blob_ref(b"the record itself"),
            make_post(embed={"cid": "none", "mimeType": "image/png"}),
            make_post(),
        ],
        blob_sizes={cid_of(b"told", CODEC_RAW): 4},
    )
