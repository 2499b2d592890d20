"""Intake sources and event sinks come in by the door of the record transforms; and what is missing of them is named."""

import re
import sys
import threading
import time

import pytest

from eurosky_pipeline.plugins import discovery
from eurosky_pipeline.plugins.foreign import prints_aside
from eurosky_pipeline.plugins.kinds import EVENT_SINKS, INTAKE_SOURCES, KINDS
from eurosky_pipeline.plugins.manager import load, load_event_sinks, load_intake_sources, load_transforms
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.plugin_packages import BROKEN, HEAD, REFUSED, Site, as_kind, offering

NEW = [INTAKE_SOURCES, EVENT_SINKS]


@pytest.fixture
def site(tmp_path, monkeypatch):
    return Site(tmp_path, monkeypatch)


def offering_of(kind, *expressions, before=""):
    return as_kind(kind, offering(*expressions, before=before))


def names_of(plugins, kind):
    return [offer.name for offer in plugins.of(kind)]


@pytest.mark.parametrize("kind", NEW, ids=lambda kind: kind.key)
def test_they_come_as_new_instances_in_the_order_of_the_settings_each_once(site, kind):
    site.install("ab", offering_of(kind, "transform_of('a')", "transform_of('b', '2')"))
    plugins = site.read()
    first, second = (load(kind, ["b", "a", "b"], plugins=plugins) for _ in range(2))
    assert [(one.name, one.version) for one in first.made] == [("b", "2"), ("a", "1")]
    assert all(isinstance(one, kind.base) for one in first.made)
    assert all(one is not other for one, other in zip(first.made, second.made, strict=True))
    assert first.missing == ()


@pytest.mark.parametrize("kind", NEW, ids=lambda kind: kind.key)
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_named_with_what_is_missing_for_it_and_the_others_are_had(site, case, kind):
    source, why = (as_kind(kind, text) for text in BROKEN[case])
    site.install("broken-package", source, plugin="cracked", version="4.5")
    site.install("sound", offering_of(kind, "transform_of('z')"))
    loaded = load(kind, ["it", "z"], plugins=site.read())
    assert [one.name for one in loaded.made] == ["z"]
    (missing,) = loaded.missing
    assert (missing.name, missing.code) == ("it", "plugin_broken")
    assert "plugin 'cracked' of broken-package 4.5" in str(missing)
    assert re.search(why, str(missing))
    assert kind.title in str(missing)
    assert kind.variable in missing.hint


@pytest.mark.parametrize("kind", NEW, ids=lambda kind: kind.key)
@pytest.mark.parametrize("case", REFUSED)
def test_one_that_is_described_wrongly_is_refused_with_the_reason_and_its_neighbour_is_not(site, case, kind):
    expression, why = (as_kind(kind, text) for text in REFUSED[case])
    site.install("half", offering_of(kind, expression, "transform_of('sound')"), version="2")
    plugins = site.read()
    assert names_of(plugins, kind) == ["sound"]
    (fault,) = plugins.faults
    assert why in str(fault)


@pytest.mark.parametrize("kind", NEW, ids=lambda kind: kind.key)
@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("raise KeyError('HOME_TOWN')", "cannot make it: KeyError: 'HOME_TOWN'"),
        ("raise SystemExit(1)", "cannot make it: SystemExit: 1"),
        ("raise KeyboardInterrupt", "cannot make it: KeyboardInterrupt"),
        ("raise type('Panic', (BaseException,), {})('no')", "cannot make it: Panic: no"),
        ("return transform_of('it')", "makes something else than a RecordTransform for it: a ABCMeta"),
        ("return transform_of('it', '2')()", "a RecordTransform that calls itself 'it' '2', and offers it as it 1"),
    ],
)
def test_a_factory_that_makes_something_else_is_named_and_the_others_are_had(site, body, why, kind):
    before = f"def make():\n    {body}\nmake.name, make.version = 'it', '1'"
    site.install("f", offering_of(kind, "make", "transform_of('z')", before=before))
    loaded = load(kind, ["it", "z"], plugins=site.read())
    assert [one.name for one in loaded.made] == ["z"]
    assert as_kind(kind, why) in loaded.missing[0].reason


@pytest.mark.parametrize("kind", NEW, ids=lambda kind: kind.key)
def test_a_name_that_nobody_offers_is_named_with_those_there_are(site, kind):
    site.install("ab", offering_of(kind, "transform_of('b')", "transform_of('a')"))
    loaded = load(kind, ["c", "a"], plugins=site.read())
    assert [one.name for one in loaded.made] == ["a"]
    (missing,) = loaded.missing
    assert missing.code == "plugin_unknown"
    assert missing.reason.endswith("'c'; there are: a, b")
    assert kind.variable in missing.hint


@pytest.mark.parametrize("kind", NEW, ids=lambda kind: kind.key)
def test_a_name_that_two_plugins_claim_is_nobodys_and_both_are_named(site, kind):
    site.install("built-in", offering_of(kind, "transform_of('log')"))
    site.install("impostor", offering_of(kind, "transform_of('log', '2')", "transform_of('b')"), version="9")
    loaded = load(kind, ["log", "b"], plugins=site.read())
    assert [one.name for one in loaded.made] == ["b"]
    assert "of built-in 1.0 claims the name log" in loaded.missing[0].reason
    assert "of impostor 9 claims the name log" in loaded.missing[0].reason


def test_one_name_may_be_of_a_transform_a_source_and_a_sink(site):
    for kind in KINDS:
        site.install(kind.key, offering_of(kind, "transform_of('club')"))
    plugins = site.read()
    assert plugins.faults == ()
    assert load_transforms(["club"], plugins=plugins)[0].name == "club"
    assert load_intake_sources(["club"], plugins=plugins).made[0].name == "club"
    assert load_event_sinks(["club"], plugins=plugins).made[0].name == "club"


def test_what_is_of_another_kind_is_refused(site):
    site.install("mixed", f"{HEAD}\n@hookimpl\ndef eurosky_event_sinks():\n    return [source_of('it')]\n")
    plugins = site.read()
    assert plugins.offers == ()
    assert "whose class 'It' is no EventSink" in str(plugins.faults[0])


def test_a_fault_in_one_hook_leaves_what_the_same_plugin_offers_of_another_kind(site):
    hooks = (
        "@hookimpl\ndef eurosky_intake_sources():\n    return [source_of('good')]\n"
        "@hookimpl\ndef eurosky_event_sinks():\n    raise LookupError('no')\n"
    )
    site.install("half", f"{HEAD}\n{hooks}")
    plugins = site.read()
    assert load_intake_sources(["good"], plugins=plugins).made
    assert load_intake_sources(["other"], plugins=plugins).missing[0].code == "plugin_unknown"
    assert load_event_sinks(["other"], plugins=plugins).missing[0].code == "plugin_broken"


@pytest.mark.parametrize("place", ["imported", "asked"])
def test_a_plugin_that_hangs_is_left_behind_named_and_holds_no_other_up(site, monkeypatch, place):
    monkeypatch.setattr(discovery, "LOAD_LIMIT_S", 0.3)
    hang = "import threading\nthreading.Event().wait(60)\n"
    asked = f"@hookimpl\ndef eurosky_event_sinks():\n    {hang.splitlines()[0]}\n    {hang.splitlines()[1]}\n"
    site.install("a-slow", f"{HEAD}\n{hang if place == 'imported' else asked}", plugin="asleep", version="3")
    site.install("sound", as_kind(EVENT_SINKS, offering("transform_of('z')")))
    began = time.monotonic()
    plugins = site.read()
    assert time.monotonic() - began < 30
    loaded = load_event_sinks(["z", "it"], plugins=plugins)
    assert [one.name for one in loaded.made] == ["z"]
    assert "plugin 'asleep' of a-slow 3 hangs " in loaded.missing[0].reason
    assert "nothing has come of it after 0.3 s" in loaded.missing[0].reason


def test_what_a_plugin_prints_while_it_is_loaded_asked_and_made_stays_off_stdout(site, capsys):
    before = "print('imported')\ndef make():\n    print('made')\n    return sink_of('it')()\n"
    before += "make.name, make.version = 'it', '1'"
    source = offering_of(EVENT_SINKS, "make", before=before).replace(
        "    return [make", "    print('asked')\n    return [make"
    )
    site.install("loud", source)
    assert load_event_sinks(["it"], plugins=site.read()).made
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.split() == ["imported", "asked", "made"]


def test_prints_are_sent_aside_in_the_main_thread_alone_where_nobody_can_undo_it():
    seen = []
    with prints_aside():
        assert sys.stdout is sys.stderr

    def elsewhere():
        before = sys.stdout
        with prints_aside():
            seen.append(sys.stdout is before)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [True]


def test_nothing_is_loaded_where_nothing_is_named(monkeypatch):
    monkeypatch.setattr("eurosky_pipeline.plugins.manager.installed_plugins", lambda: pytest.fail("looked for plugins"))
    assert load_event_sinks([]).made == ()
    assert load_intake_sources([]).missing == ()


def test_each_kind_names_a_setting_that_there_is():
    assert {kind.variable for kind in KINDS} <= {
        str(field.validation_alias) for field in Settings.model_fields.values()
    }
