"""Plugins as installed packages: the example one beside the built-in one, in a process of its own."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import distributions, entry_points

from eurosky_pipeline.plugins.hooks import PROJECT
from eurosky_pipeline.plugins.manager import load_transforms
from eurosky_pipeline.plugins.offers import read_plugins
from eurosky_pipeline_tests.builders import DID, make_block, make_post, make_posts, make_repo_car
from eurosky_pipeline_tests.converting import convert
from eurosky_pipeline_tests.plugin_packages import install_example, offering, write_dist_info

HEAVY = ["dagster", "pydantic", "pydantic_settings", "httpx", "sqlalchemy", "pandas", "click", "rich", "multiformats"]

ASK = """
import json, sys
from eurosky_pipeline.plugins.kinds import RECORD_TRANSFORMS
from eurosky_pipeline.plugins.manager import installed_plugins, load_transforms

record = {"facets": [{"features": [
    {"$type": "app.bsky.richtext.facet#link", "uri": "https://blog.example.net/2023/a"}
]}]}
transforms = load_transforms(json.loads(sys.argv[1]))
for transform in transforms:
    record = transform.transform("at://did:plc:x/app.bsky.feed.post/1", record)
print(json.dumps({
    "ran": [transform.name for transform in transforms],
    "uri": record["facets"][0]["features"][0]["uri"],
    "available": [
        (offer.name, offer.version, offer.origin.distribution, offer.origin.distribution_version)
        for offer in installed_plugins().of(RECORD_TRANSFORMS)
    ],
    "faults": [str(fault) for fault in installed_plugins().faults],
    "modules": sorted(sys.modules),
}))
"""


def ask(folder, *names):
    """What a new process says that has this folder on its path, too."""
    answer = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(names)],
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return answer, json.loads(answer.stdout) if answer.returncode == 0 else None


def test_the_built_in_transform_comes_in_by_the_same_door_as_everybodys():
    assert "eurosky_pipeline.convert.legacy_blobs" in [entry.value for entry in entry_points(group=PROJECT)]


def test_the_example_package_is_found_once_it_is_installed_and_runs_where_it_is_named(tmp_path):
    install_example(tmp_path)
    answer, said = ask(tmp_path, "moved_links", "legacy_blobs")
    assert said, answer.stderr
    assert said["ran"] == ["moved_links", "legacy_blobs"]
    assert said["uri"] == "https://www.example.org/blog/2023/a"
    assert ["moved_links", "1", "eurosky-example", "1.2.0"] in said["available"]
    assert [name for name, *_ in said["available"]] == ["legacy_blobs", "moved_links"]
    assert said["faults"] == []


def test_a_broken_package_stops_neither_the_built_in_transform_nor_the_example(tmp_path):
    install_example(tmp_path)
    (tmp_path / "broken_of_old.py").write_text("import module_that_nobody_has\n")
    write_dist_info(tmp_path, "eurosky-broken", "0.9", {"broken": "broken_of_old"})
    answer, said = ask(tmp_path, "legacy_blobs", "moved_links")
    assert said, answer.stderr
    (fault,) = said["faults"]
    assert fault.startswith("plugin 'broken' of eurosky-broken 0.9 cannot be imported: ModuleNotFoundError")
    answer, said = ask(tmp_path, "spelling")
    assert said is None
    assert "PluginError: the record transform 'spelling' is none of legacy_blobs, moved_links" in answer.stderr
    assert "eurosky-broken 0.9" in answer.stderr


def test_a_package_that_takes_the_built_in_transforms_name_is_found_out_with_both_named(tmp_path):
    (tmp_path / "impostor.py").write_text(offering("transform_of('legacy_blobs')"))
    write_dist_info(tmp_path, "eurosky-impostor", "6", {"main": "impostor"})
    answer, said = ask(tmp_path, "legacy_blobs")
    assert said is None
    refusal = answer.stderr.splitlines()[-1]
    assert "PluginError: the record transform 'legacy_blobs' cannot be had" in refusal
    assert " of eurosky-impostor 6 claims the name" in refusal
    assert re.search(r" of eurosky_pipeline \S+ claims the name", refusal)


def test_to_load_the_built_in_transform_takes_no_heavy_import(tmp_path):
    answer, said = ask(tmp_path, "legacy_blobs")
    assert said, answer.stderr
    assert [name for name in HEAVY if name in said["modules"]] == []


def test_a_repository_goes_through_the_example_with_strong_references_made_right(tmp_path, monkeypatch):
    install_example(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    found = read_plugins(distributions(path=[str(tmp_path)]))
    first, second = make_posts(2)
    link = {"$type": "app.bsky.richtext.facet#link", "uri": "https://blog.example.net/a"}
    post = make_post(facets=[{"features": [link]}])
    reply = make_post(reply={"parent": {"uri": f"at://{DID}/{first}", "cid": str(make_block(post)[0])}})
    outcome = convert(
        make_repo_car({first: post, second: reply}), transforms=load_transforms(["moved_links"], plugins=found)
    )
    assert outcome.conversion.transforms == (("moved_links", "1", {"links_moved": 1}),)
    assert (outcome.conversion.records_changed, outcome.conversion.strong_refs_rewritten) == (2, 1)
    assert outcome.data is not None
    assert b"https://www.example.org/blog/a" in outcome.data
    assert b"blog.example.net" not in outcome.data


def test_plugins_are_not_looked_for_when_the_manager_is_imported(tmp_path):
    install_example(tmp_path)
    looked = "import sys, eurosky_pipeline.plugins.manager; sys.exit('eurosky_moved_links' in sys.modules)"
    subprocess.run([sys.executable, "-c", looked], env=os.environ | {"PYTHONPATH": str(tmp_path)}, check=True)
