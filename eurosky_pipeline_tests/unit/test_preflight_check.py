"""`migrations check`: each row of the table says what would happen, and nothing is changed by asking."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr

from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.cli.migrations import migrations
from eurosky_pipeline.preflight.bounded import OverdueError, within
from eurosky_pipeline.preflight.check import check_migration
from eurosky_pipeline.preflight.clocks import Clocks
from eurosky_pipeline.preflight.findings import Finding, Verdict, made
from eurosky_pipeline.preflight.servers import Server, look_at_clock
from eurosky_pipeline.registry.migration import Migration, NewMigration
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.settings import Settings, load_settings
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.errors import RateLimited
from eurosky_pipeline_tests.builders import DID, OTHER_DID, make_legacy_blob_ref, make_post, make_posts, make_repo_car
from eurosky_pipeline_tests.canary import traces
from eurosky_pipeline_tests.stub_pds import Answer, Route, StubPds, stub_pds

PASSWORD = "canary-7b1e-of-the-account"
POSTS = {**make_posts(4), "app.bsky.feed.post/3zz": make_post(old=make_legacy_blob_ref())}
BLOBS = {str(cid_of(bytes([n]) * (n * 100), CODEC_RAW)): n * 100 for n in range(1, 7)}
TOKENS = {"did": DID, "accessJwt": "a", "refreshJwt": "r"}


def of_json(value: object, status: int = 200) -> Route:
    return lambda _: Answer.of_json(value, status)


def status(*, activated: bool, records: int = 0) -> Route:
    return of_json({"activated": activated, "indexedRecords": records, "expectedBlobs": 0, "importedBlobs": 0})


def blob(parameters: dict[str, str]) -> Answer:
    return Answer(b"x" * BLOBS[parameters["cid"]], content_type="image/png")


@pytest.fixture
def source() -> Iterator[StubPds]:
    with stub_pds() as stub:
        stub.routes |= {
            "com.atproto.server.describeServer": of_json({"did": "did:web:old.example"}),
            "_health": of_json({"version": "0.4.1"}),
            "com.atproto.server.createSession": of_json(TOKENS),
            "com.atproto.server.checkAccountStatus": status(activated=True, records=5),
            "com.atproto.sync.getRepoStatus": of_json({"did": DID, "active": True}),
            "com.atproto.sync.getRepo": lambda _: Answer(make_repo_car(POSTS), content_type="application/vnd.ipld.car"),
            "com.atproto.sync.listBlobs": of_json({"cids": list(BLOBS)}),
            "com.atproto.sync.getBlob": blob,
        }
        yield stub


@pytest.fixture
def destination() -> Iterator[StubPds]:
    with stub_pds() as stub:
        stub.routes |= {
            "com.atproto.server.describeServer": of_json({"did": "did:web:new.example", "blobUploadLimit": 1000}),
            "com.atproto.server.createSession": of_json(TOKENS),
            "com.atproto.server.checkAccountStatus": status(activated=False),
            "com.atproto.repo.importRepo": of_json({"error": "InternalServerError", "message": "Invalid CAR"}, 500),
        }
        yield stub


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: StubPds) -> Iterator[Settings]:
    with stub_pds() as directory:
        entry = {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": source.url}
        directory.routes[f"/{DID}"] = of_json({"id": DID, "alsoKnownAs": ["at://a.test"], "service": [entry]})
        monkeypatch.setenv("EUROSKY_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("EUROSKY_ALLOW_PRIVATE_HOSTS", "true")
        monkeypatch.setenv("EUROSKY_PLC_URL", directory.url)
        yield load_settings()


@pytest.fixture
def registry(settings: Settings) -> Iterator[Registry]:
    opened = open_registry(settings)
    yield opened
    opened.close()


@pytest.fixture
def migration(registry: Registry, source: StubPds, destination: StubPds) -> Migration:
    return registry.add(NewMigration(DID, source.url, destination.url), {Side.DESTINATION: SecretStr(PASSWORD)})


@pytest.fixture
def found(settings: Settings, registry: Registry, migration: Migration) -> Callable[..., dict[str, Finding]]:
    """The table's rows by name, of the migration as it is now."""

    def look(**changes: float) -> dict[str, Finding]:
        rows = list(check_migration(settings, registry, registry.get(migration.token), **changes))
        assert len({row.name for row in rows}) == len(rows) == 16
        return {row.name: row for row in rows}

    return look


def run(token: str, *arguments: str) -> Result:
    return CliRunner().invoke(migrations, ["check", token, *arguments])


def test_where_nothing_stands_in_the_way_each_row_says_go_and_nothing_is_changed(
    registry: Registry, migration: Migration, destination: StubPds, settings: Settings
) -> None:
    before = registry.get(migration.token)
    done = run(migration.token, "--json")
    assert done.exit_code == 0, done.output
    value = json.loads(done.stdout)
    assert (value["token"], value["ok"]) == (migration.token, True)
    rows = {row["name"]: row for row in value["checks"]}
    assert {row["verdict"] for row in value["checks"]} == {"go"}, rows
    assert rows["repository"]["found"].startswith("5 records, 1.")
    assert "1 legacy blob references" in rows["repository"]["found"]
    assert rows["blobs"]["found"] == "6 blobs, 2.1 kB, the largest seen 600 B"
    assert (rows["upload size"]["found"], rows["upload size"]["needed"]) == ("1.0 kB", "600 B, the largest seen")
    assert "version 0.4.1" in rows["source"]["found"]
    assert registry.get(migration.token) == before
    assert "com.atproto.repo.uploadBlob" not in destination.asked
    assert not (settings.home / "work").exists()
    assert traces([PASSWORD], settings.home) == []
    assert PASSWORD not in done.output


NO_GO: list[tuple[str, str, Callable[[StubPds, StubPds], None]]] = [
    ("source", "not_a_pds", lambda s, d: s.routes.pop("com.atproto.server.describeServer")),
    ("source account", "--source-password-env", lambda s, d: deactivate(s)),
    ("repository", "repo_damaged", lambda s, d: cut_short(s)),
    ("repository", OTHER_DID, lambda s, d: hand_out_another(s)),
    ("destination", "same_host", lambda s, d: describe(d, did="did:web:old.example")),
    ("destination login", "wrong_password", lambda s, d: refuse(d, "createSession", 401, "AuthenticationRequired")),
    ("destination account", "destination_active", lambda s, d: activate(d)),
    ("imports", "imports_closed", lambda s, d: refuse_imports(d)),
    ("imports", "content_type_refused", lambda s, d: refuse(d, "importRepo", 415, "UnsupportedMediaType", "repo")),
]


def deactivate(server: StubPds) -> None:
    told = {"did": DID, "active": False, "status": "deactivated"}
    server.routes["com.atproto.sync.getRepoStatus"] = of_json(told)


def cut_short(server: StubPds) -> None:
    car = make_repo_car(POSTS)[:-9]
    server.routes["com.atproto.sync.getRepo"] = lambda _: Answer(car, content_type="application/vnd.ipld.car")


def hand_out_another(server: StubPds) -> None:
    car = make_repo_car(POSTS, did=OTHER_DID)
    server.routes["com.atproto.sync.getRepo"] = lambda _: Answer(car, content_type="application/vnd.ipld.car")


def describe(server: StubPds, **fields: object) -> None:
    server.routes["com.atproto.server.describeServer"] = of_json({"did": "did:web:new.example", **fields})


def refuse(server: StubPds, endpoint: str, code: int, error: str, group: str = "server") -> None:
    server.routes[f"com.atproto.{group}.{endpoint}"] = of_json({"error": error, "message": f"no {PASSWORD}"}, code)


def activate(server: StubPds) -> None:
    server.routes["com.atproto.server.checkAccountStatus"] = status(activated=True, records=9)


def refuse_imports(server: StubPds) -> None:
    told = {"error": "InvalidRequest", "message": "Service is not accepting repo imports"}
    server.routes["com.atproto.repo.importRepo"] = of_json(told, 400)


@pytest.mark.parametrize(("name", "told", "change"), NO_GO, ids=[f"{name}: {told}" for name, told, _ in NO_GO])
def test_what_a_migration_would_fail_of_is_no_go_with_what_to_do_and_exit_code_3(
    source: StubPds,
    destination: StubPds,
    migration: Migration,
    name: str,
    told: str,
    change: Callable[[StubPds, StubPds], None],
) -> None:
    change(source, destination)
    done = run(migration.token, "--json")
    assert done.exit_code == 3, done.output
    value = json.loads(done.stdout)
    row = next(row for row in value["checks"] if row["name"] == name)
    assert (value["ok"], row["verdict"]) == (False, "no-go")
    assert told in row["reason"] + row["what_to_do"]
    assert row["what_to_do"]
    assert PASSWORD not in done.output


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"<html>hello</html>", content_type="text/html"),
        Answer(b"<html>no</html>", 404, content_type="text/html"),
        Answer.of_json({"hello": "world"}),
        Answer.of_json({"did": "nobody"}),
        Answer(b"[" * 100_000),
        Answer(b"x" * 3_000_000),
        Answer(b"", 302),
    ],
    ids=["a web page", "no such page", "another API", "no DID", "deep JSON", "endless", "a redirect"],
)
def test_a_host_that_is_no_pds_is_no_go_with_a_hint_and_gets_no_password(
    destination: StubPds, found: Callable[..., dict[str, Finding]], answer: Answer
) -> None:
    destination.routes["com.atproto.server.describeServer"] = lambda _: answer
    rows = found()
    assert rows["destination"].verdict is Verdict.NO_GO
    assert rows["destination"].what_to_do
    assert "com.atproto.server.createSession" not in destination.asked


def test_a_server_that_is_not_there_is_no_go_and_what_needs_it_is_unknown(
    settings: Settings, registry: Registry, destination: StubPds
) -> None:
    new = NewMigration(DID, "http://127.0.0.1:9", destination.url)
    token = registry.add(new, {Side.DESTINATION: SecretStr(PASSWORD)}).token
    rows = {row.name: row for row in check_migration(settings, registry, registry.get(token))}
    assert rows["source"].verdict is Verdict.NO_GO
    assert "host_unreachable" in rows["source"].reason
    dependent = ("source clock", "source login", "source account", "repository", "blobs", "disk")
    assert {rows[name].verdict for name in dependent} == {Verdict.UNKNOWN}
    assert rows["destination account"].verdict is Verdict.GO


def test_no_destination_password_is_no_go_and_the_command_that_gives_it_is_named(
    settings: Settings, registry: Registry, source: StubPds, destination: StubPds
) -> None:
    token = registry.add(NewMigration(DID, source.url, destination.url), {}).token
    rows = {row.name: row for row in check_migration(settings, registry, registry.get(token))}
    login = rows["destination login"]
    assert login.verdict is Verdict.NO_GO
    assert f"eurosky migrations retry {token} --destination-password-env" in login.what_to_do
    assert rows["destination account"].verdict is rows["imports"].verdict is Verdict.UNKNOWN
    assert "com.atproto.repo.importRepo" not in destination.asked


def test_a_source_that_is_deactivated_is_go_where_its_password_was_given(
    settings: Settings, registry: Registry, source: StubPds, destination: StubPds
) -> None:
    deactivate(source)
    passwords = {Side.SOURCE: SecretStr(PASSWORD), Side.DESTINATION: SecretStr(PASSWORD)}
    token = registry.add(NewMigration(DID, source.url, destination.url), passwords).token
    rows = {row.name: row for row in check_migration(settings, registry, registry.get(token))}
    assert (rows["source login"].found, rows["source account"].verdict) == ("accepted", Verdict.GO)


def test_an_active_destination_is_never_asked_to_import_anything(
    destination: StubPds, found: Callable[..., dict[str, Finding]]
) -> None:
    activate(destination)
    assert found()["imports"].verdict is Verdict.UNKNOWN
    assert "com.atproto.repo.importRepo" not in destination.asked


def test_blobs_above_the_destinations_limit_and_lost_ones_are_a_warning(
    source: StubPds, destination: StubPds, found: Callable[..., dict[str, Finding]]
) -> None:
    describe(destination, blobUploadLimit=550)
    lost = next(iter(BLOBS))
    absent = of_json({"error": "BlobNotFound", "message": "Blob not found"}, 404)
    source.routes["com.atproto.sync.getBlob"] = lambda asked: (absent if asked["cid"] == lost else blob)(asked)
    rows = found()
    assert rows["blobs"].verdict is rows["upload size"].verdict is Verdict.WARN
    assert "does not have 1" in rows["blobs"].reason
    assert "1 are larger than 550 B" in rows["blobs"].reason


def test_a_did_document_that_names_another_server_is_a_warning(
    settings: Settings, registry: Registry, destination: StubPds
) -> None:
    with stub_pds() as other:
        other.routes["com.atproto.server.describeServer"] = of_json({"did": "did:web:old.example"})
        token = registry.add(NewMigration(DID, other.url, destination.url), {}).token
        rows = {row.name: row for row in check_migration(settings, registry, registry.get(token))}
    assert rows["identity"].verdict is Verdict.WARN
    assert "and not the source given" in rows["identity"].reason
    assert rows["blobs"].verdict is Verdict.UNKNOWN, "a host that cannot be asked for its blobs"


def test_a_host_whose_limit_others_wait_for_is_a_warning_with_its_end(
    registry: Registry, migration: Migration, destination: StubPds, found: Callable[..., dict[str, Finding]]
) -> None:
    assert found()["upload quota"].verdict is Verdict.GO
    other = registry.add(NewMigration(OTHER_DID, "https://old.example", destination.url), {}).token
    assert registry.wait(other, datetime(2999, 1, 2, 3, 4, tzinfo=UTC), RateLimited("no more"))
    row = found()["upload quota"]
    assert (row.verdict, row.found) == (Verdict.WARN, "used up until 2999-01-02 03:04 UTC")


@pytest.mark.parametrize(
    ("state", "verdict"),
    [(State.CANCELLED, Verdict.NO_GO), (State.PENDING_BLOBS, Verdict.GO)],
)
def test_where_the_migration_stands_is_the_first_row(
    registry: Registry,
    migration: Migration,
    found: Callable[..., dict[str, Finding]],
    state: State,
    verdict: Verdict,
) -> None:
    registry.transition(migration.token, State.PENDING_REPO, state)
    assert found()["migration"].verdict is verdict
    if state is State.PENDING_BLOBS:
        registry.acquire_lease(migration.token, "a-run", 60)
        assert found()["migration"].reason == "run a-run works on it: what follows is changing"


def test_a_host_that_does_not_answer_costs_its_check_and_no_more_than_the_time_for_all(
    destination: StubPds, found: Callable[..., dict[str, Finding]]
) -> None:
    is_over = threading.Event()

    def hang(_: dict[str, str]) -> Answer:
        is_over.wait(60)
        return Answer()

    destination.routes["com.atproto.server.describeServer"] = hang
    begun_s = time.monotonic()
    try:
        row = found(check_timeout_s=1.0)["destination"]
    finally:
        is_over.set()
    assert time.monotonic() - begun_s < 50
    assert (row.verdict, row.reason) == (Verdict.NO_GO, "no answer within 1 s")
    late = found(all_timeout_s=0.0)
    assert {row.reason for row in late.values()} == {"not looked at: the time for all checks was over"}


def test_a_check_that_takes_too_long_is_unknown() -> None:
    row = made("blobs", lambda stop: Finding("blobs", Verdict.GO, str(stop.wait(30))), timeout_s=0.05)
    assert (row.verdict, row.reason) == (Verdict.UNKNOWN, "no answer within 0 s")


@pytest.mark.parametrize("error", [ValueError(PASSWORD), RecursionError(), KeyError(PASSWORD)])
def test_a_check_that_breaks_is_a_row_and_does_not_repeat_what_may_be_a_secret(error: Exception) -> None:
    def broken(_: threading.Event) -> Finding:
        raise error

    row = made("blobs", broken, timeout_s=10)
    assert (row.name, row.verdict) == ("blobs", Verdict.UNKNOWN)
    assert type(error).__name__ in row.reason
    assert PASSWORD not in repr(row)


def test_work_that_is_overdue_is_told_to_stop_and_left_behind() -> None:
    seen: list[threading.Event] = []
    with pytest.raises(OverdueError):
        within(0.05, lambda stop: seen.append(stop) or stop.wait(30))
    assert seen[0].is_set()


@pytest.mark.parametrize(
    ("ahead_s", "verdict"),
    [(0, Verdict.GO), (-25, Verdict.GO), (60, Verdict.WARN), (-280, Verdict.WARN), (400, Verdict.NO_GO)],
)
def test_a_clock_is_judged_by_how_far_it_is_from_ours(ahead_s: int, verdict: Verdict) -> None:
    clocks, server = heard(format_datetime(datetime.now(UTC) + timedelta(seconds=ahead_s)))
    row = look_at_clock(server, clocks, threading.Event())
    assert row.verdict is verdict
    assert bool(row.what_to_do) is (verdict is not Verdict.GO)


@pytest.mark.parametrize("date", [None, "", "soon", "Thu, 01 Jan 99999 00:00:00 GMT", "\x00", "9" * 400])
def test_a_date_that_is_none_is_unknown_and_no_crash(date: str | None) -> None:
    clocks, server = heard(date)
    assert look_at_clock(server, clocks, threading.Event()).verdict is Verdict.UNKNOWN


def heard(date: str | None) -> tuple[Clocks, Server]:
    clocks = Clocks()
    request = httpx.Request("GET", "https://pds.example/xrpc/x")
    clocks.hear(httpx.Response(200, headers={} if date is None else {"date": date}, request=request))
    client = XrpcClient(httpx.Client(), "https://pds.example")
    return clocks, Server(Side.SOURCE, "https://pds.example", client=client)
