"""Installing npm packages once, whole or not at all. npm is played by a small Python script."""

import sys
import threading
from pathlib import Path

import pytest

from eurosky_pipeline.errors import EuroskyError, SettingsError
from eurosky_pipeline.sandbox import node, packages

GOOD = """
import os, pathlib, sys, time
assert sys.argv[1] == "ci" and "--ignore-scripts" in sys.argv
assert sorted(p.name for p in pathlib.Path().iterdir()) == ["package-lock.json", "package.json"]
time.sleep(0.3)
pathlib.Path("node_modules").mkdir()
pathlib.Path("node_modules/seen.txt").write_text("\\n".join(os.environ))
with open(os.environ["npm_config_test_calls"], "a") as calls: calls.write("x")
"""
BAD = "import pathlib; pathlib.Path('node_modules').mkdir(); print('npm error network'); raise SystemExit(1)"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setattr(packages, "cache_folder", lambda: cache)
    monkeypatch.setattr(packages, "node_binary", lambda: Path(sys.executable))
    monkeypatch.setenv("npm_config_test_calls", str(tmp_path / "calls"))
    return cache


def play_npm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str) -> None:
    script = tmp_path / "npm.py"
    script.write_text(code)
    monkeypatch.setattr(packages, "npm_script", lambda: script)


def test_installed_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_npm(monkeypatch, tmp_path, GOOD)
    said: list[str] = []
    folder = packages.ensure_packages(said.append)
    assert folder == packages.ensure_packages(said.append)
    assert (folder / "node_modules").is_dir()
    assert (tmp_path / "calls").read_text() == "x"
    assert len(said) == 2


def test_two_at_once_install_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_npm(monkeypatch, tmp_path, GOOD)
    said: list[str] = []
    threads = [threading.Thread(target=packages.ensure_packages, args=(said.append,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "calls").read_text() == "x"
    assert any("another process" in line for line in said)


def test_a_failure_shows_the_end_of_the_log_and_counts_as_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_npm(monkeypatch, tmp_path, BAD)
    with pytest.raises(EuroskyError, match="npm error network") as caught:
        packages.ensure_packages(lambda _: None)
    assert caught.value.code == "npm_failed"
    assert str(cache / f"{packages.lock_hash()}.log") in caught.value.message
    assert [path for path in cache.iterdir() if path.is_dir()] == []

    play_npm(monkeypatch, tmp_path, GOOD)
    assert (packages.ensure_packages(lambda _: None) / "node_modules").is_dir()


def test_the_rest_of_a_killed_install_is_not_taken_for_an_install(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = cache / f"{packages.lock_hash()}.abc.partial"
    (rest / "node_modules").mkdir(parents=True)
    play_npm(monkeypatch, tmp_path, GOOD)
    packages.ensure_packages(lambda _: None)
    assert (tmp_path / "calls").exists()
    assert not rest.exists()


def test_npm_sees_nothing_of_ours(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUROSKY_VAULT_KEY", "a secret")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    play_npm(monkeypatch, tmp_path, GOOD)
    seen = (packages.ensure_packages(lambda _: None) / "node_modules" / "seen.txt").read_text().split()
    assert "EUROSKY_VAULT_KEY" not in seen
    assert {"PATH", "https_proxy", "npm_config_test_calls"} <= set(seen)


def test_another_lock_is_another_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = packages.lock_hash()
    for name in packages.MANIFESTS:
        (tmp_path / name).write_bytes((packages.SCRIPTS / name).read_bytes() + b"\n")
    monkeypatch.setattr(packages, "SCRIPTS", tmp_path)
    assert packages.lock_hash() != before


def test_the_lock_names_no_registry() -> None:
    text = (packages.SCRIPTS / "package-lock.json").read_text()
    assert '"resolved"' not in text
    assert text.count('"integrity"') > 500


def test_missing_node_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError) as caught:
        node.node_binary()
    assert "eurosky_pipeline[sandbox]" in caught.value.hint


def test_node_is_the_real_binary_and_npm_is_there() -> None:
    assert node.node_binary().stat().st_size > 10_000_000  # not a wrapper script
    assert node.npm_script().name == "npm-cli.js"
