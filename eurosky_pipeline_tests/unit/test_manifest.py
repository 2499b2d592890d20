"""The manifest: the union of what records reference and what the source lists."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.transfer.manifest import (
    COLUMNS,
    build_manifest,
    manifest_rows,
    read_manifest,
    read_rows,
    write_manifest,
)
from eurosky_pipeline_tests.builders import make_blob_ref, make_legacy_blob_ref, make_post, make_repo_car

SHARED, OLD, LISTED = b"shared picture", b"old picture", b"nobody names it"


def cid_text(data: bytes) -> str:
    return str(cid_of(data, CODEC_RAW))


@pytest.fixture
def car(tmp_path: Path) -> Path:
    path = tmp_path / "account.converted.car"
    path.write_bytes(
        make_repo_car(
            {
                "app.bsky.feed.post/3kaaaaaaaaa2a": make_post(embed=[make_blob_ref(SHARED), make_blob_ref(SHARED)]),
                "app.bsky.feed.post/3kaaaaaaaaa2b": make_post(embed={"deep": [{"image": make_blob_ref(SHARED)}]}),
                "app.bsky.actor.profile/self": {"avatar": make_legacy_blob_ref(OLD)},
            }
        )
    )
    return path


@pytest.fixture
def manifest(car: Path) -> pd.DataFrame:
    return build_manifest(car, [cid_of(SHARED, CODEC_RAW), cid_of(LISTED, CODEC_RAW), cid_of(LISTED, CODEC_RAW)])


def test_each_blob_is_one_row_whoever_names_it(manifest: pd.DataFrame) -> None:
    assert list(manifest.columns) == list(COLUMNS)
    assert list(manifest["blob_cid"]) == sorted(map(cid_text, (SHARED, OLD, LISTED)))


def test_a_row_says_who_names_the_blob_and_how(manifest: pd.DataFrame) -> None:
    rows = {str(row.blob_cid): row for row in manifest_rows(manifest)}
    shared, old, listed = rows[cid_text(SHARED)], rows[cid_text(OLD)], rows[cid_text(LISTED)]
    assert (shared.references, shared.is_referenced, shared.is_listed, shared.is_legacy) == (3, True, True, False)
    assert (shared.mime_type, shared.size_bytes) == ("image/png", len(SHARED))
    assert shared.first_record == "app.bsky.feed.post/3kaaaaaaaaa2a"
    assert (old.is_legacy, old.is_listed, old.size_bytes, old.mime_type) == (True, False, None, "image/jpeg")
    assert (listed.is_referenced, listed.is_listed, listed.references) == (False, True, 0)
    assert (listed.mime_type, listed.first_record) == (None, None)


def test_a_table_comes_back_from_its_file_as_it_was(manifest: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "blob_manifest.csv"
    write_manifest(manifest, path)
    pd.testing.assert_frame_equal(read_manifest(path), manifest)
    assert list(manifest_rows(read_manifest(path))) == list(manifest_rows(manifest)) == list(read_rows(path))
    assert not path.with_name("blob_manifest.csv.partial").exists()


def test_an_account_without_blobs_has_an_empty_table(tmp_path: Path) -> None:
    path = tmp_path / "empty.car"
    path.write_bytes(make_repo_car({}))
    manifest = build_manifest(path, [])
    write_manifest(manifest, tmp_path / "blob_manifest.csv")
    assert list(manifest_rows(read_manifest(tmp_path / "blob_manifest.csv"))) == []


@pytest.mark.parametrize("mime_type", ["image/png\r", "NA", 'a"b,c', "null"])
def test_a_strangers_mime_type_comes_back_as_it_was(tmp_path: Path, mime_type: str) -> None:
    path = tmp_path / "odd.car"
    path.write_bytes(make_repo_car({"app.bsky.actor.profile/self": {"avatar": make_blob_ref(OLD, mime_type)}}))
    write_manifest(build_manifest(path, []), tmp_path / "blob_manifest.csv")
    assert [row.mime_type for row in manifest_rows(read_manifest(tmp_path / "blob_manifest.csv"))] == [mime_type]


def test_a_size_that_no_blob_has_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "huge.car"
    path.write_bytes(make_repo_car({"app.bsky.actor.profile/self": {"avatar": {**make_blob_ref(OLD), "size": 2**63}}}))
    assert [row.size_bytes for row in manifest_rows(build_manifest(path, []))] == [None]
