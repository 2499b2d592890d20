"""Where files are: nothing outside the migration's own folders, nothing half-written, nothing left behind."""

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from eurosky_pipeline.artifacts.disk import disk_errors_named, link_or_copy
from eurosky_pipeline.artifacts.store import Removed, Stored
from eurosky_pipeline.artifacts.workspace import ACCOUNT_CAR, Workspace
from eurosky_pipeline.errors import FatalError, IntegrityError, SettingsError

TOKEN = "EURO-0123456789ABCDEF"


@pytest.fixture
def files(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "home", tmp_path / "artifacts", TOKEN)


def names_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "../../etc",
        "/etc",
        f"{TOKEN}/..",
        f"{TOKEN}\n",
        f"../{TOKEN}",
        TOKEN.lower(),
        f"{TOKEN}X",
        "EURO-",
    ],
)
def test_what_is_no_token_makes_no_folder(tmp_path: Path, token: str) -> None:
    with pytest.raises(SettingsError, match="is not a migration's token") as caught:
        Workspace(tmp_path / "home", tmp_path / "artifacts", token)
    assert caught.value.code == "unknown_token"
    assert list(tmp_path.iterdir()) == []


def test_a_migration_has_its_own_two_folders_which_others_cannot_enter(files: Workspace, tmp_path: Path) -> None:
    for folder in (tmp_path / "home" / "work" / TOKEN, tmp_path / "artifacts" / TOKEN):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert files.scratch(ACCOUNT_CAR) == tmp_path / "home" / "work" / TOKEN / "account.car"
    assert files.blobs == tmp_path / "home" / "work" / TOKEN / "blobs"


def test_a_kept_file_is_a_second_name_of_the_first(files: Workspace, tmp_path: Path) -> None:
    files.scratch(ACCOUNT_CAR).write_bytes(b"car")
    kept = Path(files.keep(ACCOUNT_CAR).uri)
    assert kept == tmp_path / "artifacts" / TOKEN / ACCOUNT_CAR
    assert kept.samefile(files.scratch(ACCOUNT_CAR))
    assert kept.read_bytes() == b"car"


def test_keeping_twice_is_keeping_once(files: Workspace, tmp_path: Path) -> None:
    files.scratch(ACCOUNT_CAR).write_bytes(b"car")
    assert files.keep(ACCOUNT_CAR) == files.keep(ACCOUNT_CAR)
    assert names_below(tmp_path) == [
        f"artifacts/{TOKEN}/{ACCOUNT_CAR}",
        f"artifacts/{TOKEN}/{ACCOUNT_CAR}.sha256",
        f"home/work/{TOKEN}/{ACCOUNT_CAR}",
    ]


def test_a_newer_file_takes_the_place_of_the_one_that_was_kept(files: Workspace) -> None:
    path = files.scratch(ACCOUNT_CAR)
    path.write_bytes(b"old")
    kept = Path(files.keep(ACCOUNT_CAR).uri)
    with kept.open("rb") as reader:
        path.unlink()
        path.write_bytes(b"new")
        files.keep(ACCOUNT_CAR)
        assert reader.read() == b"old"  # whoever reads it sees one file or the other, and never a mixture
    assert kept.read_bytes() == b"new"


def test_a_file_that_left_scratch_is_fetched_from_the_store(files: Workspace) -> None:
    files.scratch(ACCOUNT_CAR).write_bytes(b"car")
    kept = Path(files.keep(ACCOUNT_CAR).uri)
    files.scratch(ACCOUNT_CAR).unlink()
    assert files.fetch(ACCOUNT_CAR) == files.scratch(ACCOUNT_CAR)
    assert files.scratch(ACCOUNT_CAR).samefile(kept)


def test_a_file_in_scratch_is_the_one_that_is_used(files: Workspace) -> None:
    files.scratch(ACCOUNT_CAR).write_bytes(b"old")
    files.keep(ACCOUNT_CAR)
    files.scratch(ACCOUNT_CAR).unlink()
    files.scratch(ACCOUNT_CAR).write_bytes(b"new")
    assert files.fetch(ACCOUNT_CAR).read_bytes() == b"new"


def test_a_file_that_nobody_has_made_yet_is_told_as_that(files: Workspace) -> None:
    with pytest.raises(FatalError, match=r"account\.car is not there yet") as caught:
        files.fetch(ACCOUNT_CAR)
    assert caught.value.code == "input_missing"


def test_a_kept_file_has_its_sum_beside_it_as_sha256sum_reads_it(files: Workspace) -> None:
    files.scratch(ACCOUNT_CAR).write_bytes(b"car")
    stored = files.keep(ACCOUNT_CAR)
    assert stored == Stored(stored.uri, 3, hashlib.sha256(b"car").hexdigest())
    assert Path(f"{stored.uri}.sha256").read_text() == f"{stored.sha256}  {ACCOUNT_CAR}\n"


@pytest.mark.parametrize("left", [b"", b"ca", b"cat", b"cars"])
def test_an_artifact_that_was_damaged_or_cut_short_is_not_fetched(files: Workspace, left: bytes) -> None:
    files.scratch(ACCOUNT_CAR).write_bytes(b"car")
    stored = files.keep(ACCOUNT_CAR)
    files.scratch(ACCOUNT_CAR).unlink()
    Path(stored.uri).write_bytes(left)
    with pytest.raises(IntegrityError, match="is not the file that was kept there") as caught:
        files.fetch(ACCOUNT_CAR)
    assert caught.value.code == "artifact_damaged"
    assert list(files.scratch("").iterdir()) == []


def test_an_artifact_of_an_older_version_has_no_sum_and_is_taken_as_it_is(files: Workspace) -> None:
    files.scratch(ACCOUNT_CAR).write_bytes(b"car")
    Path(f"{files.keep(ACCOUNT_CAR).uri}.sha256").unlink()
    files.scratch(ACCOUNT_CAR).unlink()
    assert files.fetch(ACCOUNT_CAR).read_bytes() == b"car"


def test_a_sum_that_cannot_be_read_is_no_missing_sum(files: Workspace) -> None:
    files.scratch(ACCOUNT_CAR).write_bytes(b"car")
    Path(f"{files.keep(ACCOUNT_CAR).uri}.sha256").write_text("")
    files.scratch(ACCOUNT_CAR).unlink()
    with pytest.raises(IntegrityError):
        files.fetch(ACCOUNT_CAR)


def test_a_discarded_file_is_gone_from_both_places_with_its_sum(files: Workspace, tmp_path: Path) -> None:
    files.scratch(ACCOUNT_CAR).write_bytes(b"car")
    files.keep(ACCOUNT_CAR)
    files.discard(ACCOUNT_CAR, "never made")
    assert names_below(tmp_path) == []


def test_what_is_deleted_is_all_of_this_migration_and_nothing_of_another(files: Workspace, tmp_path: Path) -> None:
    other = Workspace(tmp_path / "home", tmp_path / "artifacts", TOKEN.replace("0", "9"))
    for each in (files, other):
        each.scratch(ACCOUNT_CAR).write_bytes(b"a car")
        each.keep(ACCOUNT_CAR)
    files.blobs.mkdir()
    (files.blobs / "bafkrei").write_bytes(b"blob")
    (tmp_path / "elsewhere").write_bytes(b"stays")
    files.scratch("link").symlink_to(tmp_path / "elsewhere")
    kept, removed = names_below(tmp_path), files.delete_all()
    assert removed.names == (
        f"artifacts/{TOKEN}/account.car",
        f"artifacts/{TOKEN}/account.car.sha256",
        f"work/{TOKEN}/account.car",
        f"work/{TOKEN}/blobs/bafkrei",
        f"work/{TOKEN}/link",
    )
    # the car's bytes once, since both names were of one file
    assert 9 + 64 + len("  account.car\n") <= removed.size_bytes < 9 + 64 + 14 + 256
    assert names_below(tmp_path) == [name for name in kept if TOKEN not in name]
    assert not (tmp_path / "artifacts" / TOKEN).exists()
    assert Workspace(tmp_path / "home", tmp_path / "artifacts", TOKEN).delete_all() == Removed()


@pytest.mark.parametrize("reason", ["EXDEV", "EPERM", "EMLINK", "ENOTSUP"])
def test_where_there_can_be_no_link_the_file_is_copied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reason: str
) -> None:
    def refuse(origin: Path, target: Path) -> None:
        raise OSError(getattr(errno, reason), reason)

    monkeypatch.setattr(os, "link", refuse)  # a second file system is not to be had in every place tests run
    origin, target = tmp_path / "origin", tmp_path / "target"
    origin.write_bytes(b"car")
    target.write_bytes(b"an older one")
    link_or_copy(origin, target)
    assert target.read_bytes() == b"car"
    assert not target.samefile(origin)
    assert names_below(tmp_path) == ["origin", "target"]


def test_another_fault_while_linking_is_not_hidden_by_a_copy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(origin: Path, target: Path) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "origin").write_bytes(b"car")
    with pytest.raises(OSError, match="input/output error"):
        link_or_copy(tmp_path / "origin", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_what_a_killed_copy_left_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "origin").write_bytes(b"car")
    (tmp_path / "target.partial").write_bytes(b"ca")
    link_or_copy(tmp_path / "origin", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"car"
    assert names_below(tmp_path) == ["origin", "target"]


def test_the_leftovers_of_a_killed_run_are_cleared_and_finished_files_stay(files: Workspace) -> None:
    for name in (ACCOUNT_CAR, f"{ACCOUNT_CAR}.partial", "blob_manifest.csv.partial"):
        files.scratch(name).write_bytes(b"x")
    (files.blobs / "deep").mkdir(parents=True)
    (files.blobs / "bafkrei").write_bytes(b"x")
    files.clear_leftovers()
    assert sorted(path.name for path in files.scratch("").iterdir()) == [ACCOUNT_CAR]
    files.clear_leftovers()


def test_blobs_under_way_begin_in_an_empty_folder(files: Workspace) -> None:
    files.blobs.mkdir()
    (files.blobs / "left by a killed run").touch()
    with files.blob_folder() as folder:
        assert folder == files.blobs
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_no_blob_stays_however_the_transfer_ends(files: Workspace, error: type[BaseException] | None) -> None:
    def transfer() -> None:
        with files.blob_folder() as folder:
            (folder / "bafkrei").write_bytes(b"x")
            if error is not None:
                raise error

    if error is None:
        transfer()
    else:
        with pytest.raises(error):
            transfer()
    assert not files.blobs.exists()


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "disk_full"), (errno.EDQUOT, "disk_full"), (errno.EIO, "disk")]
)
def test_a_fault_of_the_disk_is_fatal_and_names_the_file(number: int, code: str) -> None:
    with (
        pytest.raises(FatalError, match=f"cannot write account.car: {os.strerror(number)}") as caught,
        disk_errors_named(Path("account.car")),
    ):
        raise OSError(number, os.strerror(number))
    assert caught.value.code == code
    assert "nothing that arrived is lost" in caught.value.hint


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_disk_that_is_really_full_is_told_as_that() -> None:
    path = Path("/dev/full")
    with pytest.raises(FatalError) as caught, disk_errors_named(path), path.open("wb", buffering=0) as file:
        file.write(b"x")
    assert caught.value.code == "disk_full"


def test_what_is_no_fault_of_the_disk_passes_through() -> None:
    with pytest.raises(ZeroDivisionError), disk_errors_named(Path("account.car")):
        raise ZeroDivisionError
