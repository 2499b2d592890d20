"""The manifest: the union of what records reference and what the source lists."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.errors import FatalError, IntegrityError
from eurosky_pipeline.transfer.manifest import COLUMNS, ManifestRow, read_manifest, read_rows, write_manifest
from eurosky_pipeline.xrpc.errors import AnswerInvalid
from eurosky_pipeline_tests.builders import make_blob_ref, make_legacy_blob_ref, make_post, make_repo_car

SHARED, OLD, LISTED = b"shared picture", b"old picture", b"nobody names it"


def raw_cid(data: bytes) -> Cid:
    return cid_of(data, CODEC_RAW)


def make_car(folder: Path, records: dict) -> Path:
    path = folder / "account.converted.car"
    path.write_bytes(make_repo_car(records))
    return path


def written(folder: Path, records: dict, listed: Iterable[Cid] = ()) -> list[ManifestRow]:
    path = folder / "blob_manifest.csv"
    write_manifest(make_car(folder, records), listed, path)
    return list(read_rows(path))


@pytest.fixture
def car(tmp_path: Path) -> Path:
    return make_car(
        tmp_path,
        {
            "app.bsky.feed.post/3kaaaaaaaaa2a": make_post(embed=[make_blob_ref(SHARED), make_blob_ref(SHARED)]),
            "app.bsky.feed.post/3kaaaaaaaaa2b": make_post(embed={"deep": [{"image": make_blob_ref(SHARED)}]}),
            "app.bsky.actor.profile/self": {"avatar": make_legacy_blob_ref(OLD)},
        },
    )


@pytest.fixture
def manifest(car: Path) -> Path:
    path = car.with_name("blob_manifest.csv")
    write_manifest(car, map(raw_cid, (SHARED, LISTED, LISTED)), path)
    return path


def test_each_blob_is_one_row_whoever_names_it(manifest: Path) -> None:
    assert [row.blob_cid for row in read_rows(manifest)] == sorted(map(raw_cid, (SHARED, OLD, LISTED)), key=str)


def test_a_row_says_who_names_the_blob_and_how(manifest: Path) -> None:
    rows = {row.blob_cid: row for row in read_rows(manifest)}
    first = "app.bsky.feed.post/3kaaaaaaaaa2a"
    assert rows == {
        row.blob_cid: row
        for row in [
            ManifestRow(raw_cid(SHARED), "image/png", len(SHARED), True, False, True, 3, first),
            ManifestRow(raw_cid(OLD), "image/jpeg", None, True, True, False, 1, "app.bsky.actor.profile/self"),
            ManifestRow(raw_cid(LISTED), None, None, False, False, True, 0, None),
        ]
    }


def test_rows_are_in_the_order_of_their_cids_as_text(tmp_path: Path) -> None:
    cids = [raw_cid(b"%d" % n) for n in range(60)]
    records = {
        f"app.bsky.feed.post/3kaaaaaaaaa{a}{b}": make_post(embed=make_blob_ref(b"%d" % (7 * n % 60)))
        for n, (a, b) in enumerate((a, b) for a in "234567" for b in "abcdefghij")
    }
    assert [row.blob_cid for row in written(tmp_path, records, cids)] == sorted(cids, key=str)


def test_a_blob_that_one_record_names_in_the_old_form_is_legacy(tmp_path: Path) -> None:
    records = {
        "app.bsky.feed.post/3kaaaaaaaaa2a": make_post(embed=make_blob_ref(OLD)),
        "app.bsky.feed.post/3kaaaaaaaaa2b": make_post(embed=make_legacy_blob_ref(OLD)),
        "app.bsky.feed.post/3kaaaaaaaaa2c": make_post(embed=make_blob_ref(OLD)),
    }
    assert [(row.is_legacy, row.size_bytes, row.references) for row in written(tmp_path, records)] == [
        (True, len(OLD), 3)
    ]


def test_of_two_sizes_that_records_claim_the_first_is_told(tmp_path: Path) -> None:
    records = {
        "app.bsky.feed.post/3kaaaaaaaaa2a": make_post(embed={**make_blob_ref(OLD), "size": 5}),
        "app.bsky.feed.post/3kaaaaaaaaa2b": make_post(embed={**make_blob_ref(OLD), "size": 6}),
    }
    assert [row.size_bytes for row in written(tmp_path, records)] == [5]


def test_the_totals_are_those_of_the_rows(car: Path) -> None:
    totals = write_manifest(car, map(raw_cid, (SHARED, LISTED)), car.with_name("blob_manifest.csv"))
    assert (totals.blobs, totals.claimed_bytes) == (3, len(SHARED))
    assert (totals.referenced, totals.legacy, totals.listed) == (2, 1, 2)
    assert totals.mime_types == ((None, 1), ("image/jpeg", 1), ("image/png", 1))


def test_a_table_of_pandas_is_the_same_rows_with_dtypes(manifest: Path) -> None:
    table = read_manifest(manifest)
    assert table.dtypes.astype(str).str.lower().to_dict() == {name: dtype.lower() for name, dtype in COLUMNS.items()}
    assert list(table["blob_cid"]) == [str(row.blob_cid) for row in read_rows(manifest)]
    assert list(table["size_bytes"].fillna(-1)) == [
        -1 if row.size_bytes is None else row.size_bytes for row in read_rows(manifest)
    ]
    assert table.loc[table["mime_type"].isna(), "is_listed"].all()


def test_nothing_stays_beside_the_table(manifest: Path) -> None:
    assert sorted(path.name for path in manifest.parent.iterdir()) == ["account.converted.car", "blob_manifest.csv"]


def test_a_list_that_breaks_off_leaves_the_table_of_before(manifest: Path, car: Path) -> None:
    before = manifest.read_bytes()

    def breaking() -> Iterator[Cid]:
        yield raw_cid(b"one more")
        raise AnswerInvalid("it goes in a circle")

    with pytest.raises(AnswerInvalid):
        write_manifest(car, breaking(), manifest)
    assert manifest.read_bytes() == before
    assert len(list(manifest.parent.iterdir())) == 2


def test_a_damaged_repository_makes_no_table(tmp_path: Path) -> None:
    car = make_car(tmp_path, {"app.bsky.actor.profile/self": {"avatar": make_blob_ref(OLD)}})
    car.write_bytes(car.read_bytes()[:-3])
    with pytest.raises(IntegrityError):
        write_manifest(car, [], tmp_path / "blob_manifest.csv")
    assert [path.name for path in tmp_path.iterdir()] == [car.name]


def test_a_disk_without_room_is_one_clear_error(car: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eurosky_pipeline.transfer.manifest._PRAGMAS", ("page_size = 512", "max_page_count = 4"))
    with pytest.raises(FatalError, match=r"cannot write .*full") as caught:
        write_manifest(car, map(raw_cid, (bytes([n]) for n in range(200))), car.with_name("blob_manifest.csv"))
    assert caught.value.code == "disk_full"
    assert [path.name for path in car.parent.iterdir()] == [car.name]


def test_an_account_without_blobs_has_an_empty_table(tmp_path: Path) -> None:
    assert written(tmp_path, {}) == []


@pytest.mark.parametrize("mime_type", ["image/png\r", "NA", 'a"b,c', "null", "a\nb", "\0", "ü/ñ"])
def test_a_strangers_mime_type_comes_back_as_it_was(tmp_path: Path, mime_type: str) -> None:
    records = {"app.bsky.actor.profile/self": {"avatar": make_blob_ref(OLD, mime_type)}}
    assert [row.mime_type for row in written(tmp_path, records)] == [mime_type]


def test_a_mime_type_longer_than_any_is_none(tmp_path: Path) -> None:
    longest = "a" * 127 + "/" + "b" * 127
    records = {
        "app.bsky.feed.post/3kaaaaaaaaa2a": make_post(embed=make_blob_ref(OLD, "x" * 200_000)),
        "app.bsky.feed.post/3kaaaaaaaaa2b": make_post(embed=make_blob_ref(OLD, longest)),
    }
    assert [row.mime_type for row in written(tmp_path, records)] == [longest]


def test_a_size_that_no_blob_has_is_not_believed(tmp_path: Path) -> None:
    records = {"app.bsky.actor.profile/self": {"avatar": {**make_blob_ref(OLD), "size": 2**63}}}
    assert [row.size_bytes for row in written(tmp_path, records)] == [None]


def test_the_pipelines_path_does_without_pandas(manifest: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from eurosky_pipeline.transfer.manifest import read_rows, write_manifest\n"
        f"folder = Path({str(manifest.parent)!r})\n"
        "write_manifest(folder / 'account.converted.car', [], folder / 'blob_manifest.csv')\n"
        "assert len(list(read_rows(folder / 'blob_manifest.csv'))) == 2\n"
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
