"""`eurosky plugins`: everything that is offered, from where; the broken ones named; an error only for what is used."""

import json
import os
import subprocess
import sys
from importlib.metadata import distributions, version

import pytest
from click.testing import CliRunner

from eurosky_pipeline.cli.plugins import plugins as command
from eurosky_pipeline.plugins import inventory
from eurosky_pipeline.plugins.kinds import EVENT_SINKS, INTAKE_SOURCES, RECORD_TRANSFORMS
from eurosky_pipeline.plugins.offers import read_plugins
from eurosky_pipeline_tests.plugin_packages import HEAD, Site, as_kind, install_example, offering, write_dist_info

CANARY = "canary-4711-webhook-key"


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no .env of a developer's
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path / "home"))
    for name in ("EUROSKY_RECORD_TRANSFORMS", "EUROSKY_INTAKE_SOURCES", "EUROSKY_EVENT_SINKS", "EUROSKY_WEBHOOK_URL"):
        monkeypatch.delenv(name, raising=False)
    return Site(tmp_path, monkeypatch)


def run(monkeypatch, found, *arguments):
    monkeypatch.setattr(inventory, "installed_plugins", lambda: found)
    result = CliRunner().invoke(command, arguments)
    return result.exit_code, result.stdout, result.stderr


def with_own(site):
    """Ours, and what the test has installed."""
    return read_plugins([*distributions(name="eurosky_pipeline"), *distributions(path=[str(site.folder)])])


def test_what_is_built_in_is_listed_like_everybodys_with_its_use(site, monkeypatch):
    code, out, err = run(monkeypatch, with_own(site), "--json")
    said = json.loads(out)
    ours = version("eurosky_pipeline")
    assert (code, err, said["ok"], said["faults"], said["missing"]) == (0, "", True, [], [])
    rows = [(row["kind"], row["name"], row["plugin"], row["used"]) for row in said["plugins"]]
    assert rows == [
        ("record_transform", "legacy_blobs", "legacy_blobs", "yes"),
        ("intake_source", "registered", "registered", "yes"),
        ("intake_source", "watched_folder", "watched_folder", "yes"),
        ("event_sink", "log", "log_sink", "yes"),
        ("event_sink", "webhook", "webhook", "not set up"),
    ]
    assert {(row["package"], row["package_version"]) for row in said["plugins"]} == {("eurosky_pipeline", ours)}


def test_the_example_is_listed_and_used_once_it_is_named(site, monkeypatch):
    install_example(site.folder)
    found = with_own(site)

    def used():
        code, out, _ = run(monkeypatch, found, "--json")
        assert code == 0
        return {row["name"]: row["used"] for row in json.loads(out)["plugins"] if row["package"] == "eurosky-example"}

    assert used() == {"moved_links": "no", "admin_export": "no", "event_file": "no"}
    monkeypatch.setenv("EUROSKY_RECORD_TRANSFORMS", "moved_links")
    monkeypatch.setenv("EUROSKY_INTAKE_SOURCES", "admin_export")
    monkeypatch.setenv("EUROSKY_EVENT_SINKS", "event_file")
    assert used() == {"moved_links": "yes", "admin_export": "yes", "event_file": "not set up"}
    monkeypatch.setenv("EVENT_FILE", str(site.folder / "events.jsonl"))
    assert used()["event_file"] == "yes"
    _, out, _ = run(monkeypatch, found)
    (line,) = [line for line in out.splitlines() if "admin_export" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        "intake source", "admin_export", "1", "eurosky-example 1.2.0", "admin_export", "yes",
    ]  # fmt: skip


def test_a_broken_plugin_that_nobody_uses_is_named_and_no_error(site, monkeypatch):
    site.install("eurosky-cracked", "1 / 0\n", plugin="cracked", version="4.5")
    site.install("half", as_kind(EVENT_SINKS, offering("transform_of('it', version=7)")), version="2")
    code, out, _ = run(monkeypatch, with_own(site), "--json")
    said = json.loads(out)
    assert (code, said["ok"], said["missing"]) == (0, True, [])
    assert said["faults"] == [
        {
            "plugin": "cracked",
            "package": "eurosky-cracked",
            "package_version": "4.5",
            "kind": None,
            "name": None,
            "reason": "cannot be imported: ZeroDivisionError: division by zero",
        },
        {
            "plugin": "main",
            "package": "half",
            "package_version": "2",
            "kind": "event_sink",
            "name": "it",
            "reason": "offers it, whose version is a int: it must be 1 to 32 letters, digits and . + - _",
        },
    ]
    code, out, err = run(monkeypatch, with_own(site))
    assert (code, err) == (0, "")
    assert "cracked" in out
    assert "division by zero" in out


@pytest.mark.parametrize("kind", [RECORD_TRANSFORMS, INTAKE_SOURCES, EVENT_SINKS], ids=lambda kind: kind.key)
def test_what_the_settings_name_and_cannot_be_had_is_an_error_with_what_to_do(site, monkeypatch, kind):
    body = "def make():\n    raise RuntimeError('not today')\nmake.name, make.version = 'fails', '1'"
    site.install("f", as_kind(kind, offering("make", before=body)))
    monkeypatch.setenv(kind.variable, "fails,nobodys")
    code, out, _ = run(monkeypatch, with_own(site), "--json")
    said = json.loads(out)
    assert (code, said["ok"]) == (3, False)
    missing = [(each["kind"], each["name"], each["code"]) for each in said["missing"]]
    unknown = "transform_unknown" if kind is RECORD_TRANSFORMS else "plugin_unknown"
    assert missing == [(kind.key, "fails", "plugin_broken"), (kind.key, "nobodys", unknown)]
    assert "plugin 'main' of f 1.0 cannot make fails: RuntimeError: not today" in said["missing"][0]["reason"]
    assert [row["used"] for row in said["plugins"] if row["name"] == "fails"] == ["cannot be had"]
    code, out, err = run(monkeypatch, with_own(site))
    assert code == 3
    assert f"{kind.variable}: " in err
    assert "→" in err


def test_a_sink_that_is_set_up_wrongly_is_missing_by_its_own_words_or_by_the_kind_of_its_error_alone(site, monkeypatch):
    before = (
        "from eurosky_pipeline.errors import SettingsError\n"
        "def wrong(self):\n    raise SettingsError('no key', code='settings', hint='set PAGER_KEY')\n"
        f"def odd(self):\n    raise ValueError('{CANARY}')\n"
        f"def leaves(self):\n    raise SystemExit('{CANARY}')\n"
        "def interrupts(self):\n    raise KeyboardInterrupt\n"
    )
    sinks = [f"sink_of('{name}', is_configured={name})" for name in ("wrong", "odd", "leaves", "interrupts")]
    site.install("f", as_kind(EVENT_SINKS, offering(*sinks, before=before)))
    monkeypatch.setenv("EUROSKY_EVENT_SINKS", "wrong,odd,leaves,interrupts,log")
    code, out, err = run(monkeypatch, with_own(site), "--json")
    assert code == 3
    first = json.loads(out)["missing"][0]
    assert first["reason"] == "the event sink 'wrong' is set up wrongly: no key"
    assert first["hint"] == "set PAGER_KEY"
    reasons = {each["name"]: each["reason"] for each in json.loads(out)["missing"]}
    assert reasons["odd"] == "the event sink 'odd' fails: ValueError"
    assert reasons["leaves"] == "the event sink 'leaves' fails: SystemExit"
    assert reasons["interrupts"] == "the event sink 'interrupts' fails: KeyboardInterrupt"
    assert CANARY not in out + err


def test_what_is_made_to_be_looked_at_is_closed(site, monkeypatch):
    before = "closed = []\ndef close(self):\n    closed.append(self.name)"
    module = site.install("k", as_kind(EVENT_SINKS, offering("transform_of('it', close=close)", before=before)))
    monkeypatch.setenv("EUROSKY_EVENT_SINKS", "it")
    assert run(monkeypatch, with_own(site), "--json")[0] == 0
    assert sys.modules[module].closed == ["it"]


def test_the_command_prints_one_json_value_whatever_plugins_print(tmp_path):
    hook = "@hookimpl\ndef eurosky_event_sinks():\n    print('asked')\n    return []\n"
    (tmp_path / "loud_plugin.py").write_text(f"print('hello')\n{HEAD}\n{hook}")
    write_dist_info(tmp_path, "loud", "1", {"loud": "loud_plugin"})
    answer = subprocess.run(
        [sys.executable, "-c", "from eurosky_pipeline.cli.main import main; main(['plugins', '--json'])"],
        env=os.environ | {"PYTHONPATH": str(tmp_path), "EUROSKY_HOME": str(tmp_path / "home")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(answer.stdout)["ok"] is True
    assert answer.stderr.split() == ["hello", "asked"]


def test_a_package_whose_metadata_are_no_text_is_named_and_stops_no_command_that_can_do_without(tmp_path):
    info = write_dist_info(tmp_path, "damaged", "1", {"loud": "nothing"})
    (info / "entry_points.txt").write_bytes(b"[eurosky_pipeline]\nloud = nothing\n# \xff\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "EUROSKY_HOME": str(tmp_path / "home")}
    environment.pop("PYDANTIC_DISABLE_PLUGINS", None)

    def run_main(code):
        start = "from eurosky_pipeline.cli.main import main; "
        command = [sys.executable, "-c", start + code]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    said = json.loads(run_main("main(['plugins', '--json'])").stdout)
    assert [(fault["package"], fault["reason"][:33]) for fault in said["faults"]] == [
        ("damaged", "has metadata that cannot be read:")
    ]
    answer = run_main("main(['migrations', 'list', '--json'])")  # its database wants Alembic, which looks for plugins
    said = json.loads(answer.stdout)["error"]
    assert (answer.returncode, said["code"]) == (1, "plugin_broken")
    assert str(info) in said["message"]
