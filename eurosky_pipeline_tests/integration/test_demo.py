"""`eurosky demo` in a home of its own: the main job, and nothing left running."""

from __future__ import annotations

from pathlib import Path

import psutil

from eurosky_pipeline_tests.integration.command import eurosky


def test_the_demo_verifies_and_leaves_no_process(tmp_path: Path) -> None:
    done = eurosky(
        *("demo", "--records", "40", "--blobs", "8", "--blob-bytes", "20000", "--legacy", "2"),
        *("--convert-legacy-blobs", "--json"),
        home=tmp_path,
    )
    assert done.exit_code == 0, done.stderr
    found = done.json
    assert found["verified"] is True
    assert (found["records"], found["blobs_compared"], found["differences"]) == (42, 10, [])
    assert found["records_converted"] >= 2
    assert found["blob_bytes"] > 5_000_000
    assert found["state"] == "pending_prefs"
    assert f"/runs/{found['run_id']}" not in done.stdout
    left = [process.pid for process in psutil.process_iter(["cmdline"]) if _names(process, tmp_path)]
    assert left == []
    assert (tmp_path / "sandbox" / "logs" / "source.log").stat().st_size > 0


def test_a_demo_with_damaged_blobs_verifies_all_but_those_and_is_exit_code_3(sandbox) -> None:
    done = eurosky(
        *("demo", "--records", "12", "--blobs", "7", "--blob-bytes", "2000", "--damaged-blobs", "3", "--json"),
        home=sandbox.home,
        MAX_BLOB_RETRIES="0",
    )
    assert done.exit_code == 3, done.stderr
    assert "damaging 3 of its blobs on the source: 1 lost, 1 corrupt, 1 taken down" in done.stderr
    found = done.json
    assert found["verified"] is True
    assert (found["blobs_compared"], found["blobs_lost"], found["failed_blobs"], found["differences"]) == (4, 3, 3, [])
    assert [reason.split(":")[0] for reason in found["kept_back"]] == ["2 missing_at_source", "1 corrupt_at_source"]


def _names(process: psutil.Process, home: Path) -> bool:
    return any(str(home) in word for word in process.info["cmdline"] or [])
