"""Artifacts on a real S3 API: whole or not there, never another file than the one that was kept, no key in any text."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from eurosky_pipeline.artifacts import disk, s3_store
from eurosky_pipeline.artifacts.opening import check, free_bytes, open_store
from eurosky_pipeline.artifacts.store import Removed, Stored
from eurosky_pipeline.artifacts.workspace import ACCOUNT_CAR, Workspace
from eurosky_pipeline.errors import (
    EuroskyError,
    FatalError,
    IntegrityError,
    SettingsError,
    StoppedError,
    TransientError,
)
from eurosky_pipeline.preflight.diagnosis import Health
from eurosky_pipeline.preflight.folders import look_at_artifacts
from eurosky_pipeline.settings import S3Location, load_settings
from eurosky_pipeline_tests.s3_server import BUCKET, KEYS, Request, S3Server, environment, s3_server

TOKEN, OTHER = "EURO-0123456789ABCDEF", "EURO-9123456789ABCDEF"
PART = s3_store.PART_BYTES
LOCATION = S3Location(BUCKET, "eu/production")
KEY = f"eu/production/{TOKEN}/{ACCOUNT_CAR}"


@pytest.fixture(scope="module")
def running() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def server(running: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in environment(running).items():
        monkeypatch.setenv(name, value)
    yield running
    running.reset()
    for version in running.client.list_object_versions(Bucket=BUCKET).get("Versions", []):
        running.client.delete_object(Bucket=BUCKET, Key=version["Key"], VersionId=version["VersionId"])
    for upload in running.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
        running.client.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])
    running.requests.clear()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request once."""
    monkeypatch.setattr(s3_store, "_CONFIG", {**s3_store._CONFIG, "retries": {"total_max_attempts": 1}})
    monkeypatch.setattr(s3_store, "_BODY_ATTEMPTS", 1)


@pytest.fixture
def files(server: S3Server, tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, LOCATION, TOKEN)


def keep(files: Workspace, data: bytes) -> Stored:
    files.scratch(ACCOUNT_CAR).write_bytes(data)
    stored = files.keep(ACCOUNT_CAR)
    files.scratch(ACCOUNT_CAR).unlink()
    return stored


def scratch_names(files: Workspace) -> list[str]:
    return sorted(path.name for path in files.scratch("").iterdir())


@pytest.mark.parametrize("size_bytes", [0, 1, PART, 2 * PART + 7])
def test_what_is_kept_comes_back_byte_for_byte_with_its_sum(
    files: Workspace, server: S3Server, size_bytes: int
) -> None:
    data = os.urandom(size_bytes)
    stored = keep(files, data)
    assert stored == Stored(f"s3://{BUCKET}/{KEY}", size_bytes, hashlib.sha256(data).hexdigest())
    assert server.client.head_object(Bucket=BUCKET, Key=KEY)["Metadata"] == {"sha256": stored.sha256}
    assert sum(request.part > 0 for request in server.requests) == (-(-size_bytes // PART) if size_bytes > PART else 0)
    assert files.fetch(ACCOUNT_CAR).read_bytes() == data
    assert scratch_names(files) == [ACCOUNT_CAR]


def test_a_newer_file_takes_the_place_of_the_one_that_was_kept(files: Workspace, server: S3Server) -> None:
    keep(files, b"old")
    keep(files, b"new")
    assert server.keys() == [KEY]
    assert files.fetch(ACCOUNT_CAR).read_bytes() == b"new"


@pytest.mark.parametrize(
    ("left", "has_sum"), [(b"", True), (b"ca", True), (b"cat", True), (b"cars", True), (b"car", False)]
)
def test_an_object_that_is_not_the_one_that_was_kept_is_not_used(
    files: Workspace, server: S3Server, left: bytes, has_sum: bool
) -> None:
    stored = keep(files, b"car")
    server.client.put_object(Bucket=BUCKET, Key=KEY, Body=left, Metadata={"sha256": stored.sha256} if has_sum else {})
    with pytest.raises(IntegrityError, match="is not the file that was kept there") as caught:
        files.fetch(ACCOUNT_CAR)
    assert caught.value.code == "artifact_damaged"
    assert scratch_names(files) == []


def test_what_nobody_has_made_yet_is_told_as_that_and_a_missing_bucket_as_that(
    files: Workspace, tmp_path: Path
) -> None:
    with pytest.raises(FatalError, match=r"account\.car is not there yet") as caught:
        files.fetch(ACCOUNT_CAR)
    assert caught.value.code == "input_missing"
    with pytest.raises(FatalError, match="there is no bucket s3://nobodys-bucket") as caught:
        Workspace(tmp_path, S3Location("nobodys-bucket"), TOKEN).fetch(ACCOUNT_CAR)
    assert caught.value.code == "artifacts_unavailable"


def test_a_fetch_looks_first_whether_there_is_room(files: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(files, b"car")
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=disk.RESERVE_BYTES + 2))
    with pytest.raises(FatalError, match="too little for a file of 3") as caught:
        files.fetch(ACCOUNT_CAR)
    assert caught.value.code == "disk_full"


def _refuse_second_part(request: Request, files: Workspace, stop: threading.Event) -> tuple[int, str] | None:
    return (400, "InvalidRequest") if request.part == 2 else None


def _stop_at_first_part(request: Request, files: Workspace, stop: threading.Event) -> None:
    if request.part == 1:
        stop.set()


def _change_at_first_part(request: Request, files: Workspace, stop: threading.Event) -> None:
    if request.part == 1:
        with files.scratch(ACCOUNT_CAR).open("r+b") as file:
            file.seek(2 * PART)
            file.write(b"other")


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (_refuse_second_part, FatalError),
        (_stop_at_first_part, StoppedError),
        (_change_at_first_part, IntegrityError),
    ],
)
def test_an_upload_that_is_cut_leaves_the_older_file_and_no_part(
    server: S3Server, tmp_path: Path, event: Callable[..., tuple[int, str] | None], error: type[EuroskyError]
) -> None:
    stop = threading.Event()
    files = Workspace(tmp_path, LOCATION, TOKEN, stop)
    keep(files, b"old")
    server.answer = lambda request: event(request, files, stop)
    with pytest.raises(error):
        keep(files, bytes(2 * PART + 100))
    server.reset()
    assert server.body(KEY) == b"old"
    assert server.unfinished() == []


def test_an_upload_whose_last_answer_is_lost_is_whole_all_the_same(files: Workspace, server: S3Server) -> None:
    server.is_lost = lambda request: request.method == "POST" and "uploadId" in request.query
    data = os.urandom(PART + 1)
    keep(files, data)
    assert server.body(KEY) == data


def test_a_stop_ends_a_fetch_and_leaves_nothing(server: S3Server, tmp_path: Path) -> None:
    stop = threading.Event()
    files = Workspace(tmp_path, LOCATION, TOKEN, stop)
    keep(files, bytes(PART + 1))
    server.answer = lambda request: stop.set() if request.method == "GET" else None
    with pytest.raises(StoppedError, match="was asked to stop"):
        files.fetch(ACCOUNT_CAR)
    assert scratch_names(files) == []


@pytest.mark.usefixtures("impatient")
def test_a_file_that_is_replaced_while_it_is_read_is_read_again_later(files: Workspace, server: S3Server) -> None:
    keep(files, bytes(2 * PART))

    def replace(request: Request) -> None:
        if len([r for r in server.requests if r.method == "GET"]) == 2:
            server.answer = lambda request: None
            server.client.put_object(Bucket=BUCKET, Key=KEY, Body=bytes(3 * PART))

    server.answer = replace
    with pytest.raises(TransientError, match="was replaced while it was read"):
        files.fetch(ACCOUNT_CAR)
    assert scratch_names(files) == []


def test_parts_that_a_killed_run_left_are_cleared_and_those_of_others_stay(files: Workspace, server: S3Server) -> None:
    other = KEY.replace(TOKEN, OTHER)
    for key in (KEY, KEY, KEY, other):
        server.client.create_multipart_upload(Bucket=BUCKET, Key=key)
    server.page_size = 2
    files.clear_leftovers()
    server.page_size = 0
    assert server.unfinished() == [other]
    server.answer = lambda request: (403, "AccessDenied") if "uploads" in request.query else None
    files.clear_leftovers()  # keys that may not list them leave that to the bucket's own rule


def test_what_is_deleted_is_all_of_this_migration_and_nothing_of_another(
    files: Workspace, server: S3Server, tmp_path: Path
) -> None:
    other = Workspace(tmp_path, LOCATION, OTHER)
    keep(other, b"other")
    for name in ("a.csv", "b.csv", "c.csv"):
        files.scratch(name).write_bytes(b"1234")
        files.keep(name)
    server.client.create_multipart_upload(Bucket=BUCKET, Key=KEY)
    server.page_size = 2
    removed = files.delete_all()
    server.page_size = 0
    assert removed == Removed(
        (
            *(f"s3://{BUCKET}/eu/production/{TOKEN}/{name}.csv" for name in "abc"),
            *(f"work/{TOKEN}/{name}.csv" for name in "abc"),
        ),
        24,
    )
    assert server.keys() == [KEY.replace(TOKEN, OTHER)]
    assert server.unfinished() == []


def test_a_bucket_with_versions_keeps_no_hidden_copy_of_what_was_deleted(server: S3Server, tmp_path: Path) -> None:
    location = S3Location("versioned-artifacts")
    server.client.create_bucket(Bucket=location.bucket)
    server.client.put_bucket_versioning(Bucket=location.bucket, VersioningConfiguration={"Status": "Enabled"})
    files = Workspace(tmp_path, location, TOKEN)
    for data in (b"1", b"2", b"3"):
        keep(files, data)
    files.discard(ACCOUNT_CAR)
    keep(files, b"4")
    server.page_size = 2
    assert files.delete_all().names == (f"s3://versioned-artifacts/{TOKEN}/{ACCOUNT_CAR}",)
    server.page_size = 0
    left = server.client.list_object_versions(Bucket=location.bucket)
    assert (left.get("Versions"), left.get("DeleteMarkers")) == (None, None)


FAULTS = [
    (403, "AccessDenied", FatalError, "does not let these keys use"),
    (403, "InvalidAccessKeyId", FatalError, "does not accept the keys"),
    (403, "SignatureDoesNotMatch", FatalError, "does not accept the keys"),
    (400, "ExpiredToken", FatalError, "does not accept the keys"),
    (400, "AuthorizationHeaderMalformed", FatalError, "is in another region"),
    (404, "NoSuchBucket", FatalError, "there is no bucket"),
    (503, "SlowDown", TransientError, "asks for patience"),
    (503, "ServiceUnavailable", TransientError, "failed when asked"),
    (500, "InternalError", TransientError, "failed when asked"),
    (507, "OutOfMagic", FatalError, "refuses what it was asked"),
    (400, "odd code", FatalError, r"\[unknown\]"),
]


@pytest.fixture(scope="module")
def asked_once(running: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One client for all faults, since each costs a fifth of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3_store, "_CONFIG", {**s3_store._CONFIG, "retries": {"total_max_attempts": 1}})
        patch.setattr(s3_store, "_BODY_ATTEMPTS", 1)
        for name, value in environment(running).items():
            patch.setenv(name, value)
        files = Workspace(tmp_path_factory.mktemp("home"), LOCATION, TOKEN)
        files.clear_leftovers()
    return files


@pytest.mark.parametrize(("status", "code", "kind", "text"), FAULTS, ids=[fault[1] for fault in FAULTS])
def test_each_fault_of_the_store_is_one_clear_error_that_repeats_nothing_secret(
    asked_once: Workspace, server: S3Server, status: int, code: str, kind: type[EuroskyError], text: str
) -> None:
    server.answer = lambda request: (status, code) if request.method == "PUT" else None
    with pytest.raises(kind, match=text) as caught:
        keep(asked_once, b"car")
    assert caught.value.code == "artifacts_unavailable"
    assert isinstance(caught.value, TransientError) == (kind is TransientError)
    assert f"s3://{BUCKET}" in caught.value.message
    assert caught.value.hint
    told = caught.value.with_hint() + repr(caught.value) + repr(caught.value.__cause__)
    assert not [secret for secret in (*KEYS.values(), "Signature=", "odd code") if secret in told]


def test_a_refusal_of_a_head_which_has_no_words_is_told_too(asked_once: Workspace, server: S3Server) -> None:
    asked_once.scratch(ACCOUNT_CAR).unlink(missing_ok=True)
    server.answer = lambda request: (403, "") if request.method == "HEAD" else None
    with pytest.raises(FatalError, match="does not let these keys use"):
        asked_once.fetch(ACCOUNT_CAR)


def test_a_store_that_is_busy_for_a_moment_is_asked_again_and_not_for_ever(files: Workspace, server: S3Server) -> None:
    refusals = iter([(503, "SlowDown"), (500, "InternalError")])
    server.answer = lambda request: next(refusals, None) if request.method == "PUT" else None
    assert keep(files, b"car").size_bytes == 3
    assert s3_store._CONFIG["retries"]["total_max_attempts"] * s3_store._BODY_ATTEMPTS <= 8


@pytest.mark.usefixtures("impatient")
def test_an_endpoint_that_does_not_answer_is_worth_trying_again_and_named_without_its_credentials(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://me:{KEYS['AWS_SECRET_ACCESS_KEY']}@127.0.0.1:9")
    problem = check(LOCATION)
    assert isinstance(problem, TransientError)
    assert problem.message.startswith("127.0.0.1:9 could not be reached, or broke off, when asked for s3://")
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in problem.with_hint()


def test_an_endpoint_that_is_no_address_is_a_fault_of_the_settings(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "canary nonsense")
    problem = check(LOCATION)
    assert isinstance(problem, FatalError)
    assert "AWS_ENDPOINT_URL" in problem.hint
    assert "canary" not in problem.with_hint()


def test_missing_keys_are_told_as_that(server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    problem = check(LOCATION)
    assert isinstance(problem, FatalError)
    assert "there are no keys for s3://" in problem.message


def test_a_check_keeps_fetches_and_deletes_and_leaves_nothing(server: S3Server) -> None:
    assert check(LOCATION) is None
    assert {"PUT", "GET", "DELETE"} <= {request.method for request in server.requests}
    assert server.keys() == []
    assert free_bytes(LOCATION) is None


def test_a_check_tells_of_keys_that_may_not_delete(server: S3Server) -> None:
    server.answer = lambda request: (403, "AccessDenied") if request.method == "DELETE" else None
    problem = check(LOCATION)
    assert problem is not None
    assert "does not let these keys use" in problem.message


def test_a_check_of_a_folder_leaves_nothing_and_tells_what_is_in_the_way(tmp_path: Path) -> None:
    assert check(tmp_path / "artifacts") is None
    assert list((tmp_path / "artifacts").iterdir()) == []
    assert free_bytes(tmp_path / "not" / "made" / "yet") == pytest.approx(
        disk.shutil.disk_usage(tmp_path).free, rel=0.2
    )
    (tmp_path / "file").touch()
    problem = check(tmp_path / "file")
    assert problem is not None
    assert problem.code == "disk"


def test_without_its_packages_the_setting_is_refused_by_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "eurosky_pipeline.artifacts.s3_store")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(SettingsError, match="package s3fs for that is not installed") as caught:
        open_store(LOCATION, TOKEN)
    assert caught.value.code == "artifacts_unsupported"
    assert "pip install 'eurosky_pipeline[s3]'" in caught.value.hint


def test_a_local_folder_needs_none_of_the_packages_for_s3(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from eurosky_pipeline.artifacts.workspace import Workspace;"
        f"Workspace(Path({str(tmp_path)!r}), Path({str(tmp_path / 'a')!r}), {TOKEN!r}).clear_leftovers();"
        "print([name for name in ('s3fs', 'fsspec', 'upath', 'botocore', 'aiohttp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_memory_does_not_follow_the_size_of_the_file(server: S3Server, tmp_path: Path) -> None:
    large_bytes = 9 * PART
    program = (
        "import json, resource, sys\n"
        "from pathlib import Path\n"
        "from eurosky_pipeline.artifacts.workspace import Workspace\n"
        "from eurosky_pipeline.settings import S3Location\n"
        f"files = Workspace(Path({str(tmp_path)!r}), S3Location({BUCKET!r}), {TOKEN!r})\n"
        "def peak(size):\n"
        "    with files.scratch('f').open('wb') as file:\n"
        "        file.truncate(size)\n"
        "    files.keep('f')\n"
        "    files.scratch('f').unlink()\n"
        "    files.fetch('f')\n"
        "    files.discard('f')\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        f"print(json.dumps([peak({PART} + 1), peak({large_bytes})]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=240)
    small, large = json.loads(done.stdout)
    assert large - small < large_bytes / 2


def test_doctor_has_a_row_for_artifacts_on_s3_and_none_for_a_folder(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path))
    assert look_at_artifacts(load_settings()) == []
    monkeypatch.setenv("EUROSKY_ARTIFACTS", str(LOCATION))
    (row,) = look_at_artifacts(load_settings())
    assert row.verdict is Health.OK
    monkeypatch.setenv("EUROSKY_ARTIFACTS", "s3://nobodys-bucket")
    (row,) = look_at_artifacts(load_settings())
    assert (row.verdict, "[artifacts_unavailable]" in row.found) == (Health.BAD, True)
    assert row.what_to_do
