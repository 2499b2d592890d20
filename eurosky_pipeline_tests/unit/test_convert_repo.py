"""The pipeline's conversion: which transforms run, what the source is asked, and what is left when it fails."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest

from eurosky_pipeline.artifacts.disk import link_or_copy
from eurosky_pipeline.convert import convert_repo as module
from eurosky_pipeline.convert.convert_repo import ConvertedRepo, SourceSizes, chosen_transforms, convert_repo
from eurosky_pipeline.errors import StoppedError
from eurosky_pipeline.plugins.record_transforms import RecordTransform, TransformFailedError, UnknownSize
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.builders import DID, make_blob_ref, make_legacy_blob_ref, make_post, make_repo_car
from eurosky_pipeline_tests.fake_pds import FakePds

KEYS = [f"app.bsky.feed.post/3jzfcijpj2z2{letter}" for letter in "abcdefghij"]
PICTURES = [b"picture %d" % number for number in range(10)]
LEGACY = {key: make_post(image=make_legacy_blob_ref(data)) for key, data in zip(KEYS, PICTURES, strict=True)}


class Shout(RecordTransform):
    """Somebody else's: it changes what every post says."""

    name: ClassVar[str] = "shout"
    version: ClassVar[str] = "3"

    def transform(self, uri: str, record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "text": record["text"].upper()}


class Broken(Shout):
    name: ClassVar[str] = "broken"

    def transform(self, uri: str, record: dict[str, Any]) -> dict[str, Any]:
        raise KeyError(uri)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return _settings(tmp_path)


def _settings(home: Path, **variables: Any) -> Settings:
    return Settings(_env_file=None, EUROSKY_HOME=home, **variables)


@pytest.fixture
def source() -> FakePds:
    pds = FakePds("old.example")
    for data in PICTURES:
        pds.put(data)
    return pds


class Conversions:
    """Converts in a folder, and keeps what was said."""

    def __init__(self, folder: Path, source: FakePds, settings: Settings) -> None:
        self.exported, self.target = folder / "account.car", folder / "account.converted.car"
        self.stop = threading.Event()
        self.said: list[str] = []
        self.found: list[tuple[int, int]] = []
        self._sizes = SourceSizes(lambda: source.client, DID, settings, self.stop, self.said.append)

    def run(self, records: dict[str, Any], *names: str) -> ConvertedRepo:
        self.exported.write_bytes(make_repo_car(records))
        return convert_repo(
            self.exported,
            self.target,
            names,
            unknown_size=UnknownSize.KEEP,
            sizes=self._sizes,
            report=self.said.append,
            on_found=lambda count: self.found.append((count, len(self.said))),
        )


@pytest.fixture
def conversions(tmp_path: Path, source: FakePds, settings: Settings) -> Conversions:
    return Conversions(tmp_path, source, settings)


@pytest.mark.parametrize(
    ("enabled", "override", "transforms", "chosen"),
    [
        (False, None, "", ()),
        (True, None, "", ("legacy_blobs",)),
        (True, False, "", ()),
        (False, True, "", ("legacy_blobs",)),
        (False, None, "shout", ("shout",)),
        (True, None, "shout", ("legacy_blobs", "shout")),
        (True, None, "shout,legacy_blobs", ("shout", "legacy_blobs")),
        (True, False, "shout,legacy_blobs", ("shout",)),
    ],
)
def test_the_switch_is_for_legacy_blobs_and_the_settings_are_for_all_others(
    tmp_path: Path, enabled: bool, override: bool | None, transforms: str, chosen: tuple[str, ...]
) -> None:
    named = {"EUROSKY_RECORD_TRANSFORMS": transforms} if transforms else {}
    settings = _settings(tmp_path, CONVERT_LEGACY_BLOBS=enabled, **named)
    assert chosen_transforms(settings, override) == chosen


def test_without_transforms_the_file_is_passed_on_and_counted(conversions: Conversions, source: FakePds) -> None:
    made = conversions.run(LEGACY)
    assert conversions.target.read_bytes() == conversions.exported.read_bytes()
    assert (made.legacy_refs, made.conversion, made.root) == (10, None, made.exported_root)
    assert source.asked == []


def test_nobody_is_asked_where_the_repository_tells_every_size(conversions: Conversions, source: FakePds) -> None:
    record = make_post(images=[make_legacy_blob_ref(PICTURES[0]), make_blob_ref(PICTURES[0], "image/jpeg")])
    made = conversions.run({KEYS[0]: record}, "legacy_blobs")
    assert made.conversion is not None
    assert made.conversion.is_changed
    assert source.asked == []
    assert [count for count, _ in conversions.found] == [1]


def test_what_was_found_is_told_once_before_the_work_on_it(conversions: Conversions) -> None:
    conversions.run(LEGACY, "legacy_blobs")
    ((count, lines_before),) = conversions.found
    assert count == 10
    assert conversions.said[lines_before].startswith("found 10 legacy blob references")


def test_a_transform_of_others_runs_without_the_switch_and_legacy_references_are_counted(
    conversions: Conversions, source: FakePds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "load_transforms", lambda names: [Shout()])
    made = conversions.run(LEGACY, "shout")
    assert made.conversion is not None
    assert made.conversion.records_changed == made.legacy_refs == 10
    assert (made.conversion.transforms[0][:2], source.asked) == (("shout", "3"), [])
    assert conversions.found == []


def test_a_transform_that_raises_is_named_with_its_record_and_nothing_is_written(
    conversions: Conversions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "load_transforms", lambda names: [Broken()])
    with pytest.raises(TransformFailedError, match=f"broken.*{KEYS[0]}|{KEYS[0]}.*broken"):
        conversions.run(LEGACY, "broken")
    assert sorted(path.name for path in conversions.exported.parent.iterdir()) == ["account.car"]


def test_asking_for_sizes_ends_at_once_when_the_work_has_to_stop(conversions: Conversions, source: FakePds) -> None:
    source.faults["getBlob"] = lambda _: conversions.stop.set()
    with pytest.raises(StoppedError):
        conversions.run(LEGACY, "legacy_blobs")
    assert len(source.asked) <= 2 * 5  # the workers' first ones, by HEAD and GET
    assert not conversions.target.exists()


def test_the_original_is_never_written_to_whatever_name_it_has_besides(conversions: Conversions) -> None:
    """The converted file of a run without the switch is the original by a second name."""
    conversions.run(LEGACY)
    before = conversions.exported.read_bytes()
    link_or_copy(conversions.exported, conversions.target.with_name(conversions.target.name + ".partial"))
    made = conversions.run(LEGACY, "legacy_blobs")
    assert made.root != made.exported_root
    assert conversions.exported.read_bytes() == before
    assert conversions.target.read_bytes() != before
