"""A bounded run of every fuzzer, and that the fuzzers are no sham. A longer run: `make fuzz SECONDS=600`."""

import base64
import importlib.util
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from eurosky_pipeline.atproto import dag_cbor, mst_node
from eurosky_pipeline_tests.fuzz import targets
from eurosky_pipeline_tests.fuzz.__main__ import NAMES, Result, fuzz_all
from eurosky_pipeline_tests.fuzz.targets import TARGETS

SECONDS = 30
FEWEST_RUNS = {"car": 300, "repo": 200, "convert": 50, "key": 500}
"""In a tenth of the time that a run has; some twentieth of what was seen. Of all others ten thousand were seen."""
_OTHERS = 2_000

needs_atheris = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris is not installed: it has wheels for Linux on x86_64 only",
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """All targets at once, on every processor; the seed is another one each time."""
    seed = secrets.randbelow(2**31 - 1) + 1
    print(f"the fuzzers' seed is {seed}")
    return {result.name: result for result in fuzz_all(SECONDS, tmp_path_factory.mktemp("fuzz"), seed)}


@needs_atheris
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found_in_a_bounded_run(results: dict[str, Result], name: str) -> None:
    result = results[name]
    assert result.is_clean, f"the seed was {result.seed}\n" + "\n".join(result.output.splitlines()[-50:])
    assert result.runs >= FEWEST_RUNS.get(name, _OTHERS), result.output[-2_000:]
    (covered,) = re.findall(r"DONE   cov: (\d+)", result.output)
    assert int(covered) >= 20


@pytest.mark.parametrize("name", TARGETS)
def test_a_fuzzer_begins_with_examples_that_are_accepted(name: str) -> None:
    target = TARGETS[name]
    examples = target.seeds()
    assert len(examples) == len(set(examples)) >= 3
    assert all(map(target.judge, examples))
    assert max(map(len, examples)) <= target.max_bytes


@pytest.mark.parametrize("name", TARGETS)
def test_a_fuzzer_judges_what_is_not_accepted_too(name: str) -> None:
    judge = TARGETS[name].judge
    assert not judge(b"")
    assert not judge(b"\xff" * 30)
    assert not all(judge(other) for example in TARGETS[name].seeds() for other in (example[:-1], example + b"\xff"))


def test_the_targets_that_are_started_are_the_targets_that_there_are() -> None:
    assert set(NAMES) == set(TARGETS)


def test_a_second_reader_that_disagrees_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a fuzzer would call a find, shown on one example of each kind of target."""
    node = TARGETS["mst_node"].seeds()[-1]
    monkeypatch.setattr(mst_node, "parse_node", lambda _: mst_node.Node(None, ()))
    with pytest.raises(AssertionError):
        TARGETS["mst_node"].judge(node)
    monkeypatch.setattr(targets.dag_cbor, "encode", lambda _: b"")
    with pytest.raises(AssertionError):
        TARGETS["dag_cbor"].judge(b"\xa0")
    monkeypatch.setattr(targets, "verify_car", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        TARGETS["repo"].judge(TARGETS["repo"].seeds()[0])
    monkeypatch.setattr(targets.syntax, "is_did", lambda _: True)
    with pytest.raises(AssertionError):
        TARGETS["syntax"].judge(b"nobody")


def test_a_message_that_tells_a_key_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(text: str) -> None:
        raise targets.keys.PublicKeyError(f"not a key: {text}")

    monkeypatch.setattr(targets, "_said", set())
    for text in (f"secret {chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(100)):
        assert not TARGETS["key"].judge(text.encode())
    monkeypatch.setattr(targets.keys, "parse_multikey", parse)
    with pytest.raises(AssertionError):
        assert not any(TARGETS["key"].judge(b"x" * n) for n in range(100))


def test_a_text_that_takes_long_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    backtracking = re.compile(r"(a|a)*b")
    monkeypatch.setattr(targets.formats, "is_uri", lambda text: backtracking.fullmatch(text) is not None)
    with pytest.raises(AssertionError, match="took longer"):
        TARGETS["formats"].judge(b"a" * 22)


@needs_atheris
def test_a_find_ends_the_fuzzer_with_an_error_and_the_input_to_repeat_it(tmp_path: Path) -> None:
    """A planted fault: DAG-CBOR whose encoder forgets short byte strings, which no example is."""
    planted = (
        "from eurosky_pipeline.atproto import dag_cbor\n"
        "encode = dag_cbor.encode\n"
        "dag_cbor.encode = lambda value: b'' if type(value) is bytes and 0 < len(value) < 20 else encode(value)\n"
        "from eurosky_pipeline_tests.fuzz.__main__ import main\n"
        "main()\n"
    )
    options = ["dag_cbor", "--seconds", "60", "--folder", str(tmp_path), "--seed", "1"]
    process = subprocess.run(
        [sys.executable, "-c", planted, *options], capture_output=True, text=True, check=False, timeout=200
    )
    assert process.returncode != 0
    assert "AssertionError" in process.stdout + process.stderr
    (found,) = (tmp_path / "dag_cbor").glob("crash-*")
    assert 0 < len(dag_cbor.decode(found.read_bytes())) < 20
    assert base64.b64encode(found.read_bytes()).decode() in process.stderr
    again = [sys.executable, "-m", "eurosky_pipeline_tests.fuzz", "dag_cbor", str(found), "--folder", str(tmp_path)]
    assert subprocess.run(again, capture_output=True, check=False, timeout=60).returncode == 0
