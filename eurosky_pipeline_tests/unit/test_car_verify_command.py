"""`eurosky car verify`: its JSON, its exit codes, its one line, and how little it loads to start."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from eurosky_pipeline_tests.builders import DID, make_car, make_posts, make_repo_car
from eurosky_pipeline_tests.damage import DAMAGES, FILE, GOOD, KEY, OTHER_KEY
from eurosky_pipeline_tests.integration.command import EUROSKY, Finished, environment

Command = Callable[..., Finished]
HEAVY = {"alembic", "cryptography", "dagster", "httpx", "multiformats", "pandas", "pydantic", "rich", "sqlalchemy"}


@pytest.fixture
def verify(tmp_path: Path) -> Command:
    """Run the command on a file of these bytes."""

    def run(data: bytes, *options: str) -> Finished:
        path = tmp_path / "repo.car"
        path.write_bytes(data)
        return command(tmp_path, str(path), *options)

    return run


def command(home: Path, *arguments: str) -> Finished:
    process = subprocess.run(
        [EUROSKY, "car", "verify", *arguments],
        env=environment(home),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Finished(process.returncode, process.stdout, process.stderr)


def test_a_whole_repository_is_told_in_json(verify: Command) -> None:
    data = make_repo_car(make_posts(9), orphans=[{"old": 1}, {"old": 2}], duplicates=4)
    found = verify(data, "--json")
    assert (found.exit_code, found.stderr) == (0, "")
    answer = found.json
    assert answer["ok"] is True
    assert answer["problems"] == []
    assert (answer["records"], answer["orphan_blocks"], answer["duplicate_blocks"]) == (9, 2, 4)
    assert type(answer["blocks"]) is int
    assert answer["blocks"] > 9


def test_the_problems_are_told_in_json_with_their_places(verify: Command) -> None:
    missing = next(iter(GOOD.records.values()))
    data = make_car(GOOD.root, [block for block in GOOD.blocks if block != missing]) + b"\x80"
    found = verify(data, "--json")
    assert (found.exit_code, found.stderr) == (1, "")
    answer = found.json
    assert answer["ok"] is False
    assert {tuple(problem) for problem in answer["problems"]} == {("kind", "offset", "detail")}
    assert [(problem["kind"], type(problem["offset"])) for problem in answer["problems"]] == [
        ("varint", int),
        ("block_missing", int),
    ]
    assert answer["problems"][0]["offset"] == len(data) - 1
    assert str(missing[0]) in answer["problems"][1]["detail"]
    assert answer["records"] == len(GOOD.records) - 1


def test_a_wrong_signature_is_placed_at_the_commit(verify: Command) -> None:
    answer = verify(FILE, "--json", "--key", OTHER_KEY.public_key.did_key).json
    place = FILE.index(GOOD.commit[1])
    assert [(problem["kind"], problem["offset"]) for problem in answer["problems"]] == [("signature", place)]


def test_json_is_one_line_and_nothing_else(verify: Command) -> None:
    for data in (FILE, FILE[:-1], b"", b"\xff" * 100):
        assert len(verify(data, "--json").stdout.splitlines()) == 1


def test_a_whole_repository_is_one_line_for_people(verify: Command) -> None:
    found = verify(FILE)
    assert (found.exit_code, found.stderr) == (0, "")
    (line,) = found.stdout.splitlines()
    assert f"whole and canonical: {DID}, {len(GOOD.records)} records in {len(GOOD.blocks)} blocks" in line
    assert line.endswith("signature not checked")
    assert verify(FILE, "--key", KEY.public_key.did_key).stdout.endswith("signature right\n")


@pytest.mark.parametrize(
    "name",
    [
        "file: nothing",
        "file: half a length at the end",
        "file: a block of 2 GB at the end",
        "file: two roots",
        "commit: version 4",
        "tree: two entries swapped",
        "record: 100,000 lists in each other",
    ],
)
def test_a_fault_is_one_line_for_people_and_no_traceback(verify: Command, name: str) -> None:
    found = verify(DAMAGES[name])
    assert (found.exit_code, found.stderr) == (1, "")
    (line,) = found.stdout.splitlines()
    assert "not a whole repository: " in line
    assert "(at byte " in line
    assert len(line) < 1_000


def test_several_faults_are_one_line_each_for_people(verify: Command) -> None:
    """The verdict alone is the result, on stdout."""
    found = verify(DAMAGES["file: a record's bit flipped"] + b"\x80")
    assert found.exit_code == 1
    (verdict,) = found.stdout.splitlines()
    assert "3 problems" in verdict
    assert [line.split(":")[0].strip() for line in found.stderr.splitlines()] == [
        "block_hash",
        "varint",
        "block_missing",
    ]


def test_of_many_faults_some_are_shown_a_hundred_are_in_the_json_and_all_are_counted(verify: Command) -> None:
    data = FILE + b"".join(b"\x25\x01\x71\x12\x20" + bytes([n]) * 32 + b"x" for n in range(150))
    found = verify(data)
    assert found.exit_code == 1
    assert "150 problems" in found.stdout
    *shown, rest = found.stderr.splitlines()
    assert all(line.startswith("  block_hash: ") for line in shown)
    assert f"{150 - len(shown)} more" in rest
    answer = verify(data, "--json").json
    assert (len(answer["problems"]), answer["problem_count"]) == (100, 150)


def test_the_signature_is_checked_where_a_key_is_given(verify: Command) -> None:
    unsigned = make_repo_car(make_posts(1))
    key, other = KEY.public_key.did_key, OTHER_KEY.public_key.did_key
    assert [verify(FILE, *options).exit_code for options in ((), ("--key", key), ("--key", other))] == [0, 0, 1]
    assert [verify(unsigned, *options).exit_code for options in ((), ("--key", key))] == [0, 1]
    assert "signed by nobody" in verify(unsigned, "--key", key).stdout


@pytest.mark.parametrize(
    "key",
    [
        "",
        "zQ3sh",
        "did:key:",
        "did:key:z",
        "did:web:example.com",
        "did:key:z" + "1" * 5_000,
        KEY.public_key.did_key[:-1],
    ],
)
def test_a_key_that_is_none_is_a_bad_argument_and_no_verdict(verify: Command, key: str) -> None:
    found = verify(FILE, "--key", key)
    assert (found.exit_code, found.stdout) == (2, "")
    assert "--key" in found.stderr
    assert "Traceback" not in found.stderr
    found = verify(FILE, "--json", "--key", key)
    assert (found.exit_code, found.stderr) == (2, "")
    assert set(found.json["error"]) == {"code", "message", "hint"}


def test_a_file_that_is_not_there_is_a_bad_argument(tmp_path: Path) -> None:
    for arguments in ([], ["nowhere.car"], [str(tmp_path)], ["--nonsense", "x"]):
        found = command(tmp_path, *arguments)
        assert (found.exit_code, found.stdout) == (2, "")
        assert "Traceback" not in found.stderr
        found = command(tmp_path, *arguments, "--json")
        assert (found.exit_code, found.stderr) == (2, "")
        assert found.json["error"]["code"] == "usage"


_LOADED = """
import json, sys
from eurosky_pipeline.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""


def modules_of(home: Path, *arguments: str) -> set[str]:
    process = subprocess.run(
        [sys.executable, "-c", _LOADED, *arguments], env=environment(home), capture_output=True, text=True, check=False
    )
    return set(json.loads(process.stderr.splitlines()[-1]))


def test_nothing_heavy_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "repo.car"
    path.write_bytes(FILE)
    for options in ([], ["--json"]):
        loaded = modules_of(tmp_path, "car", "verify", str(path), *options)
        assert "cbor2" in loaded
        assert loaded & HEAVY == set()
    assert modules_of(tmp_path, "car", "verify", str(path), "--key", KEY.public_key.did_key) & HEAVY == {"cryptography"}


def test_it_starts_in_less_than_0_3_seconds(tmp_path: Path) -> None:
    """Processor time, since a machine that runs tests does other things too; the best of some."""
    path = tmp_path / "repo.car"
    path.write_bytes(FILE)
    code = f"import sys, time; sys.argv[1:] = ['car', 'verify', {str(path)!r}, '--json']\n"
    code += "from eurosky_pipeline.cli.main import main\ntry:\n    main()\nfinally:\n"
    code += "    print(time.process_time(), file=sys.stderr)"
    seen, began = [], time.monotonic()
    while len(seen) < 3 or (min(seen) > 0.3 and time.monotonic() < began + 10):
        process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seen.append(float(process.stderr))
    assert min(seen) < 0.3
