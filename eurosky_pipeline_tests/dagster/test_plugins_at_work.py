"""The example package, installed as pip leaves it, at work: ticks of the sensors in a process of its own."""

import json
import os
import subprocess
import sys

from eurosky_pipeline_tests.canary import traces
from eurosky_pipeline_tests.plugin_packages import install_example, write_dist_info

CANARY = "canary-4711-of-the-export"
TICKS = """
import json
from dagster import DagsterInstance, SkipReason, build_sensor_context
from eurosky_pipeline.orchestration.sensors.deliver_events import deliver_events
from eurosky_pipeline.orchestration.sensors.new_migrations import new_migrations
from eurosky_pipeline.plugins.manager import load_transforms
from eurosky_pipeline.settings import load_settings

with DagsterInstance.ephemeral() as instance:
    first, second = (new_migrations(build_sensor_context(instance=instance)) for _ in range(2))
    told = deliver_events(build_sensor_context(instance=instance))
print(json.dumps({
    "started": [[run.partition_key for run in tick.run_requests] for tick in (first, second)],
    "partitions": [key for request in first.dynamic_partitions_requests for key in request.partition_keys],
    "told": told.skip_message,
    "transforms": [each.name for each in load_transforms(load_settings().record_transforms)],
}))
"""


def user(name: str, password: str) -> dict[str, str]:
    return {
        "did": f"did:plc:{name * 24}",
        "handle": f"{name}.example",
        "host": "https://old.example",
        "moves_to": "https://new.example",
        "new_password": password,
    }


def test_the_examples_accounts_are_registered_and_started_and_its_sink_is_told_beside_a_broken_package(tmp_path):
    site, home = tmp_path / "site", tmp_path / "home"
    for folder in (site, home):
        folder.mkdir()
    install_example(site)
    (site / "broken_of_old.py").write_text("import module_that_nobody_has\n")
    write_dist_info(site, "eurosky-broken", "0.9", {"broken": "broken_of_old"})
    export, events = home / "users.json", home / "events"
    export.write_text(json.dumps([user("a", CANARY), user("b", CANARY), user("c", "")]))
    answer = subprocess.run(
        [sys.executable, "-c", TICKS],
        env=os.environ
        | {
            "PYTHONPATH": str(site),
            "EUROSKY_HOME": str(home),
            "EUROSKY_RECORD_TRANSFORMS": "moved_links",
            "EUROSKY_INTAKE_SOURCES": "spelling,admin_export,registered",
            "EUROSKY_EVENT_SINKS": "pager,event_file",
            "ADMIN_EXPORT": str(export),
            "EVENT_FILE": str(events),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    said = json.loads(answer.stdout)
    assert len(said["partitions"]) == 2
    assert set(said["started"][0]) == set(said["partitions"])
    assert set(said["started"][1]) == set(said["partitions"])  # until a run begins: with the same keys, which ask once
    assert said["transforms"] == ["legacy_blobs", "moved_links"]

    answers = [json.loads(line) for line in (home / "users.json.answers.jsonl").read_text().splitlines()]
    assert sorted((each["did"][-1], each["reply"]) for each in answers) == [
        ("a", "added"),
        ("b", "added"),
        ("c", "rejected"),
    ]
    assert {each["token"] for each in answers} == {*said["partitions"], None}
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    assert {(each["kind"], each["token"]) for each in lines} == {("registered", token) for token in said["partitions"]}
    assert {each["handle"] for each in lines} == {"a.example", "b.example"}
    assert "event_file: 2 events delivered" in said["told"]
    assert "the event sink 'pager' is none of event_file, log, webhook" in said["told"]
    assert "'broken' of eurosky-broken 0.9" in said["told"]
    assert "the intake source 'spelling' is none of" in answer.stderr
    export.unlink()
    assert traces([CANARY], home) == []
    assert CANARY not in answer.stdout + answer.stderr
