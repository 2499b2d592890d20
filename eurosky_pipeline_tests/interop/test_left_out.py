"""A run without the public vectors says how many tests it left out, and one with them says nothing of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

THREE_OF_FOUR_NEED_VECTORS = """
import pytest

@pytest.mark.parametrize("number", [1, 2])
def test_with_vectors(fixtures, number): pass

def test_with_other_vectors(fixtures): pass

def test_without(): pass

@pytest.mark.skip(reason="for another reason")
def test_some_other_time(): pass
"""


@pytest.fixture
def suite(tmp_path) -> Path:
    """A small project of its own, with the very conftests of this one."""
    here, project = Path(__file__).parent, tmp_path / "beside" / "project"
    folder = project / "tests" / "interop"
    folder.mkdir(parents=True)
    shutil.copyfile(here.parents[1] / "conftest.py", project / "conftest.py")
    shutil.copyfile(here / "conftest.py", folder / "conftest.py")
    (folder / "test_some.py").write_text(THREE_OF_FOUR_NEED_VECTORS)
    return folder


def run(suite: Path, *arguments: str, vectors: Path | None) -> str:
    environ = {name: value for name, value in os.environ.items() if name not in ("EUROSKY_FIXTURES", "PYTEST_ADDOPTS")}
    environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    if vectors is not None:
        environ["EUROSKY_FIXTURES"] = str(vectors)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-ra",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(suite.parents[1]),
        *arguments,
    ]
    done = subprocess.run(
        command, cwd=suite.parents[1], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("is_there", [True, False])
def test_a_place_that_holds_nothing_is_named_with_the_number_of_tests(suite, tmp_path, is_there):
    vectors = tmp_path / "vectors"
    if is_there:
        vectors.mkdir()
    said = run(suite, vectors=vectors)
    *_, last, total = said.splitlines()
    assert last == f"3 tests of public vectors were left out: EUROSKY_FIXTURES names {vectors}, where nothing is"
    assert "1 passed, 4 skipped" in total


def test_without_a_variable_the_place_beside_the_repository_is_named(suite):
    said = run(suite, vectors=None)
    assert "3 tests of public vectors were left out: ../shared/fixtures is not there (set EUROSKY_FIXTURES)" in said


def test_two_processes_say_it_once_for_both(suite):
    said = run(suite, "-p", "xdist", "-n", "2", vectors=None)
    assert said.count("3 tests of public vectors were left out: ../shared/fixtures is not there") == 1
    assert "1 passed, 4 skipped" in said.splitlines()[-1]


def test_only_the_tests_that_were_asked_for_are_counted(suite):
    assert "1 test of public vectors was left out: " in run(suite, "-k", "other", vectors=None)


@pytest.mark.parametrize("beside", [True, False])
def test_with_vectors_nothing_is_left_out(suite, tmp_path, beside):
    vectors = tmp_path / "beside" / "shared" / "fixtures" if beside else tmp_path / "vectors"
    (vectors / "some-suite").mkdir(parents=True)
    said = run(suite, vectors=None if beside else vectors)
    assert "left out" not in said
    assert "4 passed" in said
