"""The manager of plugins: what is asked for is had, and a broken plugin is named and nobody else's trouble."""

import asyncio
import dataclasses
import signal
import sys
import threading
from importlib.metadata import Distribution
from typing import get_args

import pytest

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.plugins import manager
from eurosky_pipeline.plugins.foreign import let_interruption_through, within
from eurosky_pipeline.plugins.kinds import RECORD_TRANSFORMS
from eurosky_pipeline.plugins.manager import (
    DEFAULT_TRANSFORMS,
    MAX_TRANSFORMS,
    PluginError,
    installed_plugins,
    load_transforms,
)
from eurosky_pipeline.plugins.offers import read_plugins
from eurosky_pipeline.plugins.record_transforms import UnknownSize
from eurosky_pipeline.settings import LEGACY_TRANSFORM, MAX_RECORD_TRANSFORMS, Settings
from eurosky_pipeline_tests.plugin_packages import BROKEN, HEAD, REFUSED, Site, offering, write_dist_info


@pytest.fixture
def site(tmp_path, monkeypatch):
    return Site(tmp_path, monkeypatch)


def transforms_of(plugins):
    """Name, version, package and its version of each."""
    return [
        (offer.name, offer.version, offer.origin.distribution, offer.origin.distribution_version)
        for offer in plugins.of(RECORD_TRANSFORMS)
    ]


def names_of(plugins):
    return [name for name, *_ in transforms_of(plugins)]


def test_transforms_come_as_new_instances_in_the_order_in_which_they_are_asked_for(site):
    site.install("ab", offering("transform_of('a')", "transform_of('b')"))
    site.install("c", offering("transform_of('c')"))
    plugins = site.read()
    first, second = (load_transforms(["c", "a", "b"], plugins=plugins) for _ in range(2))
    assert [transform.name for transform in first] == ["c", "a", "b"]
    assert all(one is not other for one, other in zip(first, second, strict=True))


def test_what_is_available_is_listed_with_its_package_and_sorted(site):
    site.install("one-package", offering("transform_of('b', '2')", "transform_of('a')"), version="0.3")
    site.install("another", offering("transform_of('c')"))
    assert transforms_of(site.read()) == [
        ("a", "1", "one-package", "0.3"),
        ("b", "2", "one-package", "0.3"),
        ("c", "1", "another", "1.0"),
    ]


def test_a_factory_with_name_and_version_serves_as_well_as_a_class(site):
    before = "def make():\n    return transform_of('it', '1.0+x')()\nmake.name, make.version = 'it', '1.0+x'"
    site.install("f", offering("make", before=before))
    (transform,) = load_transforms(["it"], plugins=site.read())
    assert (transform.name, transform.version) == ("it", "1.0+x")


def test_no_plugin_is_imported_before_somebody_asks_and_then_once(site, monkeypatch):
    module = site.install("p", offering("transform_of('a')"))
    monkeypatch.setattr(manager, "distributions", lambda: Distribution.discover(path=[str(site.folder)]))
    manager.installed_plugins.cache_clear()
    try:
        assert load_transforms([]) == []
        assert module not in sys.modules
        load_transforms(["a"])
        loaded = sys.modules.pop(module)
        load_transforms(["a"])
        assert transforms_of(installed_plugins()) == [("a", "1", "p", "1.0")]
        assert module not in sys.modules
        assert loaded.__name__ == module
    finally:
        manager.installed_plugins.cache_clear()


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_named_by_whoever_asks_for_what_may_be_its_own_and_stops_no_other(site, case):
    source, why = BROKEN[case]
    site.install("sound-before", offering("transform_of('a')"))
    site.install("broken-package", source, plugin="cracked", version="4.5")
    site.install("sound", offering("transform_of('z')"))
    plugins = site.read()
    assert [transform.name for transform in load_transforms(["z", "a"], plugins=plugins)] == ["z", "a"]
    with pytest.raises(PluginError, match=why) as refusal:
        load_transforms(["it"], plugins=plugins)
    assert refusal.value.code == "plugin_broken"
    assert "'it'" in refusal.value.message
    assert "plugin 'cracked' of broken-package 4.5" in refusal.value.message
    assert "sound" not in refusal.value.message
    assert "uninstall" in refusal.value.hint


@pytest.mark.parametrize("case", REFUSED)
def test_a_transform_that_is_described_wrongly_is_refused_with_the_reason_and_its_neighbour_is_not(site, case):
    expression, why = REFUSED[case]
    site.install("half", offering(expression, "transform_of('sound')"), plugin="main", version="2")
    plugins = site.read()
    assert names_of(plugins) == ["sound"]
    (fault,) = plugins.faults
    assert why in str(fault)
    assert str(fault).startswith("plugin 'main' of half 2 offers ")


def test_whoever_asks_for_a_refused_transform_hears_of_its_plugin_alone(site):
    site.install("half", offering("transform_of('it', version=7)", "transform_of('sound')"))
    site.install("broken", "1 / 0\n")
    plugins = site.read()
    with pytest.raises(PluginError, match=r"of half 1\.0 offers it, whose version is a int") as refusal:
        load_transforms(["sound", "it"], plugins=plugins)
    assert "broken 1.0" not in refusal.value.message


def test_a_name_that_nobody_offers_is_a_wrong_setting_and_the_ones_there_are_are_told(site):
    site.install("ab", offering("transform_of('b')", "transform_of('a')"))
    with pytest.raises(SettingsError, match=r"'c'; there are: a, b$") as refusal:
        load_transforms(["a", "c"], plugins=site.read())
    assert refusal.value.code == "transform_unknown"
    assert "EUROSKY_RECORD_TRANSFORMS" in refusal.value.hint
    with pytest.raises(SettingsError, match=r"there are: none$"):
        load_transforms(["c"], plugins=dataclasses.replace(site.read(), offers=()))


def test_a_name_that_two_plugins_claim_is_nobodys_and_both_are_named_whoever_was_there_first(site):
    site.install("built-in", offering("transform_of('legacy_blobs')", "transform_of('a')"))
    site.install("impostor", offering("transform_of('legacy_blobs', '2')", "transform_of('b')"), version="9")
    plugins = site.read()
    assert names_of(plugins) == ["a", "b"]
    with pytest.raises(PluginError, match=r"of built-in 1\.0 claims .*of impostor 9 claims") as refusal:
        load_transforms(plugins=plugins)
    assert "legacy_blobs" in refusal.value.message
    assert len(load_transforms(["a", "b"], plugins=plugins)) == 2


def test_a_plugin_that_claims_a_name_twice_has_not_got_it(site):
    site.install("p", offering("transform_of('a')", "transform_of('a', '2')"))
    with pytest.raises(PluginError, match="claims the name a"):
        load_transforms(["a"], plugins=site.read())


def test_a_refused_transform_does_not_take_a_name_from_the_one_that_has_it(site):
    site.install("good", offering("transform_of('a')"))
    site.install("bad", offering("transform_of('a', version=2)"))
    assert [transform.version for transform in load_transforms(["a"], plugins=site.read())] == ["1"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("raise KeyError('HOME_TOWN')", "cannot make it: KeyError: 'HOME_TOWN'"),
        ("raise SystemExit(1)", "cannot make it: SystemExit: 1"),
        ("return None", "makes something else than a RecordTransform for it: a NoneType"),
        ("return transform_of('it')", "makes something else than a RecordTransform for it: a ABCMeta"),
        ("return transform_of('other')()", "calls itself 'other' '1', and offers it as it 1"),
        ("return transform_of('it', '2')()", "calls itself 'it' '2', and offers it as it 1"),
        ("return transform_of('it', property(lambda self: 1 / 0))()", "cannot make it: ZeroDivisionError"),
    ],
)
def test_a_factory_that_makes_something_else_is_named_when_it_is_needed(site, body, why):
    site.install("f", offering("make", before=f"def make():\n    {body}\nmake.name, make.version = 'it', '1'"))
    plugins = site.read()
    assert (names_of(plugins), plugins.faults) == (["it"], ())
    with pytest.raises(PluginError, match=r"plugin 'main' of f 1\.0") as refusal:
        load_transforms(["it"], plugins=plugins)
    assert why in refusal.value.message
    assert "uninstall" in refusal.value.hint


def test_what_a_plugin_says_to_do_is_handed_on(site):
    before = (
        "from eurosky_pipeline.errors import SettingsError\ndef make():\n"
        "    raise SettingsError('no list of links', hint='set MOVED_LINKS')\nmake.name, make.version = 'it', '1'"
    )
    site.install("f", offering("make", before=before))
    with pytest.raises(PluginError, match="no list of links") as refusal:
        load_transforms(["it"], plugins=site.read())
    assert refusal.value.hint == "set MOVED_LINKS"


def test_of_two_packages_of_one_name_the_first_counts_as_it_does_for_imports(site):
    (site.folder / "later").mkdir()
    module = site.install("Some_Package", offering("transform_of('a')"), version="1")
    write_dist_info(site.folder / "later", "some-package", "2", {"main": module})
    found = read_plugins(Distribution.discover(path=[str(site.folder), str(site.folder / "later")]))
    assert transforms_of(found) == [("a", "1", "Some_Package", "1")]
    assert found.faults == ()


@pytest.mark.parametrize("metadata", ["", "Metadata-Version: 2.1\nName: nameless-version\n"])
def test_damaged_metadata_are_a_fault_and_stop_no_other(site, metadata):
    site.install("sound", offering("transform_of('a')"))
    module = site.install("damaged", offering("transform_of('b')"))
    (site.folder / "damaged-1.0.dist-info" / "METADATA").write_text(metadata)
    plugins = site.read()
    assert "a" in names_of(plugins)
    assert ("b" in names_of(plugins)) is bool(metadata)
    if not metadata:
        assert "metadata that cannot be read" in str(plugins.faults[0])
        assert module not in sys.modules


@pytest.mark.parametrize("entries", [b"[eurosky_pipeline]\nno sign of equality\n", b"[eurosky_pipeline]\nx = \xff\n"])
def test_entry_points_that_cannot_be_read_are_a_fault_and_stop_no_other(site, entries):
    site.install("sound", offering("transform_of('a')"))
    (write_dist_info(site.folder, "damaged", "3", {}) / "entry_points.txt").write_bytes(entries)
    plugins = site.read()
    assert names_of(plugins) == ["a"]
    assert "of damaged 3 has metadata that cannot be read" in str(plugins.faults[0])


def test_an_entry_point_that_names_no_module_is_a_fault(site):
    write_dist_info(site.folder, "damaged", "3", {"main": "not a module at all"})
    write_dist_info(site.folder, "absent", "3", {"main": "module_that_nobody_has"})
    assert sorted(str(fault).split(" cannot be imported: ")[0] for fault in site.read().faults) == [
        "plugin 'main' of absent 3",
        "plugin 'main' of damaged 3",
    ]


def test_one_plugin_cannot_wrap_what_another_one_answers(site):
    site.install("sound", offering("transform_of('a')"))
    wrapper = "@hookimpl(wrapper=True)\ndef eurosky_record_transforms():\n    yield\n    return []\n"
    site.install("greedy", f"{HEAD}\n{wrapper}")
    assert names_of(site.read()) == ["a"]


def test_many_faults_are_told_in_few_words(site):
    for number in range(9):
        site.install(f"broken{number}", f"raise ValueError('{number}' * 10_000)\n")
    with pytest.raises(PluginError, match=r"; and 4 more$") as refusal:
        load_transforms(["it"], plugins=site.read())
    assert len(refusal.value.message) < 2000


@pytest.mark.parametrize("names", [["a", "b", "a"], [f"t{n}" for n in range(33)]])
def test_a_transform_is_asked_for_once_and_not_too_many_are(site, names):
    with pytest.raises(SettingsError, match="record transforms are asked for") as refusal:
        load_transforms(names, plugins=site.read())
    assert refusal.value.code == "settings"


def test_a_persons_ctrl_c_goes_through_while_a_plugin_is_loaded(site):
    site.install("slow", "import time\ntime.sleep(15)\n")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            site.read()
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_the_main_thread_ctrl_c_and_dagsters_own_end_are_no_plugins_doing():
    own = type("DagsterExecutionInterruptedError", (BaseException,), {"__module__": "dagster._core.errors"})
    for stop in (KeyboardInterrupt(), own()):
        with pytest.raises(type(stop)):
            let_interruption_through(stop)
        within(5, lambda stop=stop: let_interruption_through(stop))
    for error in (SystemExit(), asyncio.CancelledError(), GeneratorExit(), ValueError()):
        let_interruption_through(error)


def test_the_settings_know_of_the_same_default_bound_and_policies():
    assert DEFAULT_TRANSFORMS == (LEGACY_TRANSFORM,)
    assert MAX_TRANSFORMS == MAX_RECORD_TRANSFORMS
    assert get_args(Settings.model_fields["unknown_blob_size"].annotation) == tuple(UnknownSize)
