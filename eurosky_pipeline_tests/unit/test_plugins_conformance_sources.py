"""The conformance kit for intake sources: it finds every promise that one breaks, and lets the sound ones pass."""

import json
import shutil

import pytest

from eurosky_pipeline.intake import folder
from eurosky_pipeline.intake.registered import RegisteredSource
from eurosky_pipeline.intake.watched_folder import WatchedFolder
from eurosky_pipeline.plugins.conformance import ConformanceError, check_intake_source
from eurosky_pipeline.plugins.intake_sources import Account, IntakeSource, Registered, Reply

ACCOUNTS = [
    {
        "did": f"did:plc:{letter * 24}",
        "source_pds": "https://old.example",
        "destination_pds": "https://new.example",
        "destination_password": f"canary of {letter}",
    }
    for letter in "abc"
]
WORLD: dict[str, dict[str, str]] = {}
"""Where the source here looks: accounts by DID, until somebody has answered."""
TOKENS = ["EURO-AAAAAAAAAAAAAAAA", "EURO-BBBBBBBBBBBBBBBB"]


def arrange():
    WORLD.clear()
    WORLD.update({fields["did"]: dict(fields) for fields in ACCOUNTS})


class Sound(IntakeSource):
    """Each test makes one step of it wrong."""

    name = "club"
    version = "1"

    def poll(self, context):
        yield from [Account(fields, f"the club's {did[-1]}") for did, fields in WORLD.items()]

    def answered(self, offer, reply, token, reason):
        WORLD.pop(offer.fields["did"], None)


def poll_of(**changed):
    """Offers with these fields changed in the first account."""

    def poll(self, context):
        for number, fields in enumerate(list(WORLD.values())):
            yield Account(fields | (changed if number == 0 else {}), "here")

    return poll


def poll_that_acknowledges(self, context):
    for did in list(WORLD):
        yield Account(WORLD.pop(did), "here")


def poll_of_what_has_no_mask(self, context):
    for fields in list(WORLD.values()):
        account = Account(fields, "here")
        object.__setattr__(account, "fields", fields)
        yield account


def poll_that_reports(line):
    def poll(self, context):
        context.report(line)
        return [Account(fields, "here") for fields in list(WORLD.values())][: context.limit]

    return poll


def poll_with_cursor(cursor):
    def poll(self, context):
        context.cursor = cursor
        return [Account(fields, "here") for fields in list(WORLD.values())][: context.limit]

    return poll


def poll_that_trusts_its_cursor(self, context):
    """The cursor goes on with the draw; but where the tick does not end, it is not kept."""
    for place in range(int(context.cursor or 0), len(ACCOUNTS)):
        context.cursor = str(place + 1)
        yield Account(ACCOUNTS[place], "here")


def poll_without_time(self, context):
    if context.time_left_s() <= 0:
        raise TimeoutError
    return [Account(fields, "here") for fields in WORLD.values()][: context.limit]


def answered_that_forgets_only(*replies):
    def answered(self, offer, reply, token, reason):
        if reply in replies:
            WORLD.pop(offer.fields["did"], None)

    return answered


def answered_that_wants_a_token(self, offer, reply, token, reason):
    WORLD.pop(offer.fields["did"], None)
    assert token.startswith("EURO-")


def close_once(self):
    assert not hasattr(self, "closed")
    self.closed = True


BROKEN = [
    ({"name": "The Club"}, "the plugin offers .* whose name is 'The Club'"),
    ({"version": ""}, "offers club, whose version is ''"),
    ({"__init__": lambda self: 1 / 0}, "cannot make club: ZeroDivisionError"),
    ({"poll": lambda self, context: 1 / 0}, "poll raises ZeroDivisionError"),
    ({"poll": lambda self, context: None}, "poll gives a NoneType, which is no list"),
    ({"poll": lambda self, context: list(ACCOUNTS)}, "offers a dict, which is neither Account nor Registered"),
    ({"poll": lambda self, context: []}, "never offers the account .*did=did:plc:a+"),
    (
        {"poll": lambda self, context: [Account(each, "here") for each in WORLD.values()]},
        "poll gives 3 offers at a limit of 1",
    ),
    ({"poll": poll_of(did="did:plc:x")}, "offers the account .*did=did:plc:x, .* again, which was added"),
    ({"poll": poll_of(nickname="alice")}, "the field 'nickname', which is none"),
    ({"poll": poll_of(destination_password_env="HOME")}, "the field 'destination_password_env', which is none"),
    ({"poll": poll_of(handle=None)}, "whose handle is a NoneType, and no str"),
    ({"poll": poll_of(convert_legacy_blobs=True)}, "whose convert_legacy_blobs is a bool, and no str"),
    ({"poll": poll_of_what_has_no_mask}, "whose destination_password is a str, and no SecretStr"),
    (
        {"poll": lambda self, context: [Account(each, each["destination_password"]) for each in [*WORLD.values()][:1]]},
        "its origin, holds a password",
    ),
    (
        {"poll": lambda self, context: [Account(each, "") for each in [*WORLD.values()][:1]]},
        "origin is not a printable",
    ),
    ({"poll": poll_that_reports("took canary of b")}, "a line of its report holds a password"),
    ({"poll": poll_that_reports("one\ntwo")}, r"reports 'one\\ntwo', which is no printable line"),
    ({"poll": poll_with_cursor(7)}, "its cursor is no text"),
    ({"poll": poll_with_cursor("x" * 5000)}, "its cursor is no text of at most 4096"),
    ({"poll": poll_with_cursor("after canary of a")}, "the cursor holds a password"),
    ({"poll": poll_that_acknowledges}, "does not offer again what was drawn and not answered"),
    ({"poll": poll_without_time}, "poll raises TimeoutError"),
    (
        {"poll": lambda self, context: [Account(each, "here") for each in [*WORLD.values(), *WORLD.values()]][:6]},
        "offers the same twice in one tick",
    ),
    ({"poll": lambda self, context: [Registered(TOKENS[0])]}, "offers the token 'EURO-A+', which does not wait"),
    ({"answered": lambda *_: None}, "offers the account .* again, which was added"),
    ({"answered": answered_that_forgets_only(Reply.ADDED)}, "offers the account .* again, which was unchanged"),
    (
        {"answered": answered_that_forgets_only(Reply.ADDED, Reply.UNCHANGED)},
        "never offers the account .*did:plc:b+.* in ticks of 1, where all others are rejected",
    ),
    ({"answered": answered_that_wants_a_token}, r"answered\(rejected\) raises AttributeError"),
    ({"answered": lambda self, *_: print("yes")}, r"answered\(added\) prints on stdout"),
    ({"close": close_once}, "close raises AssertionError"),
]


@pytest.mark.parametrize(("wrong", "why"), BROKEN, ids=[why for _, why in BROKEN])
def test_a_broken_promise_is_found_and_told(wrong, why):
    with pytest.raises(ConformanceError, match=why) as found:
        check_intake_source(type("Wrong", (Sound,), wrong), arrange, accounts=ACCOUNTS)
    assert "canary" not in str(found.value)


def test_a_sound_source_passes_in_silence(capsys):
    assert check_intake_source(Sound, arrange, accounts=ACCOUNTS) is None
    assert capsys.readouterr().out == ""


def test_a_cursor_that_goes_on_with_the_draw_is_enough_since_it_is_kept_where_a_tick_has_ended_well():
    wrong = {"poll": poll_that_trusts_its_cursor, "answered": lambda *_: None}
    check_intake_source(type("ByCursor", (Sound,), wrong), arrange, accounts=ACCOUNTS)


def test_a_factory_that_shares_its_instance_is_found():
    shared = Sound()
    factory = type("Factory", (), {"name": "club", "version": "1", "__call__": lambda self: shared})()
    with pytest.raises(ConformanceError, match="the same instance twice"):
        check_intake_source(factory, arrange, accounts=ACCOUNTS)


def test_an_account_that_nobody_has_put_there_is_found():
    with pytest.raises(ConformanceError, match=r"did:plc:c+.*which nobody has put there"):
        check_intake_source(Sound, arrange, accounts=ACCOUNTS[:2])


def test_one_account_is_too_few_to_check_with():
    with pytest.raises(ValueError, match="too few"):
        check_intake_source(Sound, arrange, accounts=ACCOUNTS[:1])


def test_the_built_in_source_of_what_is_registered_keeps_its_promises():
    check_intake_source(RegisteredSource, lambda: None, accounts=[], tokens=TOKENS)


def test_the_built_in_source_of_lists_in_a_folder_keeps_its_promises(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "QUIET_S", 0.0)

    def arrange():
        shutil.rmtree(tmp_path / "lists", ignore_errors=True)
        (tmp_path / "lists").mkdir(mode=0o700)
        for number, rows in enumerate([ACCOUNTS[:2], ACCOUNTS[2:]]):
            path = tmp_path / "lists" / f"{number}.jsonl"
            path.write_text("".join(json.dumps(fields) + "\n" for fields in rows))

    class OfThisFolder(WatchedFolder):
        def __init__(self):
            super().__init__(tmp_path / "lists")

    check_intake_source(OfThisFolder, arrange, accounts=ACCOUNTS)


def test_a_source_that_leaves_a_migration_waiting_is_found():
    class First(RegisteredSource):
        def poll(self, context):
            return [each for each in context.registered(context.limit) if each.token == TOKENS[0]]

    with pytest.raises(ConformanceError, match=r"never offers the migration EURO-B+, which waits"):
        check_intake_source(First, lambda: None, accounts=[], tokens=TOKENS)
