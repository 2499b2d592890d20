"""No password and no token of a session stands in any byte under the home, or is printed, whatever became of the run.

Real servers, the real commands, a home of its own for each case. Between the pipeline and the two PDSes stand relays,
which write down every token that goes through, and fail as a case wants.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from eurosky_pipeline.registry.vault import new_key
from eurosky_pipeline.sandbox.seed import SeededAccount, seed
from eurosky_pipeline_tests.canary import traces, traces_in_server, traces_in_text
from eurosky_pipeline_tests.integration.command import EUROSKY, Finished, environment, eurosky
from eurosky_pipeline_tests.integration.relay_pds import Asked, RelayPds, refusal, relay_pds
from eurosky_pipeline_tests.postgres import PASSWORD, PostgresServer
from eurosky_pipeline_tests.stub_pds import Answer

CREATE_SESSION = "com.atproto.server.createSession"
WRONG_PASSWORD = 'Wrong "canary" é/+ \\x %7'
UPLOAD_BLOB = "com.atproto.repo.uploadBlob"


@dataclass
class Stage:
    """One case: an account between two relays, an empty home, and everything that commands have said."""

    account: SeededAccount
    source: RelayPds
    destination: RelayPds
    home: Path
    variables: dict[str, str]
    token: str = ""
    said: list[str] = field(default_factory=list)
    passwords: set[str] = field(default_factory=set)

    def run(self, *arguments: str, **variables: str) -> Finished:
        done = eurosky(*arguments, home=self.home, **{**self.variables, **variables})
        self.said += [done.stdout, done.stderr]
        return done

    def add(self, *, destination_password: str = "", **variables: str) -> None:
        password = destination_password or self.account.destination_password
        self.passwords |= {password, self.account.source_password}
        added = self.run(
            *("migrations", "add", "--json", "--did", self.account.did),
            *("--source-pds", self.variables.get("SOURCE", self.source.url), "--source-password-env", "OLD"),
            *("--destination-pds", self.destination.url, "--destination-password-env", "NEW"),
            OLD=self.account.source_password,
            NEW=password,
            **variables,
        )
        assert added.exit_code == 0, added.stderr
        self.token = added.json["token"]

    def migrate(self, **variables: str) -> tuple[int, str]:
        """Exit code and error code of a run in the foreground."""
        done = self.run("migrate", self.token, "--json", **variables)
        return done.exit_code, done.json[0]["error_code"] if isinstance(done.json, list) else done.json["error"]["code"]

    def migrate_until_a_blob_is_sent(self, act: Callable[[subprocess.Popen[str]], None]) -> int:
        """The exit code of a run to which `act` is done while it waits for the destination to take a blob."""
        is_reached, is_over = threading.Event(), threading.Event()

        def hold(_: Asked) -> None:
            is_reached.set()
            is_over.wait(60)

        self.destination.faults[UPLOAD_BLOB] = hold
        # an earlier case has brought the blobs, and what the destination gives out is not sent again
        self.destination.faults["com.atproto.sync.getBlob"] = lambda _: refusal(400, "InvalidRequest", "Blob not found")
        process = subprocess.Popen(
            [EUROSKY, "migrate", self.token, "--json"],
            env=environment(self.home, **self.variables),
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert is_reached.wait(120)
            act(process)
        finally:
            is_over.set()
            self.said += process.communicate(timeout=120)
        return process.returncode

    @property
    def secrets(self) -> set[str]:
        return self.passwords | self.source.tokens | self.destination.tokens


@pytest.fixture(scope="module")
def account(sandbox) -> SeededAccount:
    return seed(sandbox.state, records=10, blobs=3, blob_bytes=10_000, report=print)


@pytest.fixture
def stage(account: SeededAccount, tmp_path: Path) -> Iterator[Stage]:
    variables = {
        "EUROSKY_ALLOW_PRIVATE_HOSTS": "true",
        "EUROSKY_PLC_URL": account.plc_url,
        "EUROSKY_MAX_WAIT_S": "0",  # what failed is tried again at once
    }
    with relay_pds(account.source_pds) as source, relay_pds(account.destination_pds) as destination:
        yield Stage(account, source, destination, tmp_path, variables)


def spelled(secret: str) -> list[str]:
    data = secret.encode()
    return [secret, quote(secret, safe=""), data.hex(), b64encode(data).decode()]


def repeating(status: int, *, is_login: bool = False) -> Callable[[Stage], Callable[[Asked], Answer]]:
    """A host that repeats the password and the token that it was given, in every spelling that it can think of."""

    def fault(stage: Stage) -> Callable[[Asked], Answer]:
        def answer(asked: Asked) -> Answer:
            password = stage.account.destination_password
            known = [password] if is_login else [password, asked.bearer]
            return refusal(status, password, " ".join(spelling for secret in known for spelling in spelled(secret)))

        return answer

    return fault


def succeeds(stage: Stage) -> None:
    stage.add()
    assert stage.migrate() == (0, "")


def is_given_a_wrong_password(stage: Stage) -> None:
    stage.add(destination_password=WRONG_PASSWORD)
    assert stage.migrate() == (1, "wrong_password")


def is_refused_by_the_destination(stage: Stage) -> None:
    stage.destination.faults["com.atproto.repo.importRepo"] = repeating(400)(stage)
    stage.destination.faults["com.atproto.server.checkAccountStatus"] = lambda _: Answer.of_json({"activated": False})
    stage.add()
    assert stage.migrate() == (1, "request_refused")


def cannot_reach_the_source(stage: Stage) -> None:
    stage.variables["SOURCE"] = "http://127.0.0.1:9"
    stage.add()
    assert stage.migrate() == (1, "host_unreachable")


def meets_a_host_that_fails_at_login_and_repeats_the_password(stage: Stage) -> None:
    stage.destination.faults[CREATE_SESSION] = repeating(500, is_login=True)(stage)
    stage.add()
    assert stage.migrate() == (1, "server_fault")


def meets_a_host_that_fails_later_and_repeats_all_it_knows(stage: Stage) -> None:
    stage.destination.faults["com.atproto.server.checkAccountStatus"] = repeating(500)(stage)
    stage.add()
    assert stage.migrate() == (1, "server_fault")


def meets_a_host_that_fails_at_every_blob_and_repeats_all_it_knows(stage: Stage) -> None:
    stage.destination.faults[UPLOAD_BLOB] = repeating(500)(stage)
    stage.destination.faults["com.atproto.sync.getBlob"] = repeating(500)(stage)
    stage.add()
    assert stage.migrate() == (3, "")


def is_given_a_damaged_repository(stage: Stage) -> None:
    stage.source.faults["com.atproto.sync.getRepo"] = lambda _: Answer(b"\x00" * 500)
    stage.add()
    assert stage.migrate() == (1, "repo_damaged")


def is_killed(stage: Stage) -> None:
    stage.add()
    assert stage.migrate_until_a_blob_is_sent(lambda process: process.kill()) == -signal.SIGKILL


def is_interrupted(stage: Stage) -> None:
    stage.add()
    assert stage.migrate_until_a_blob_is_sent(lambda process: process.send_signal(signal.SIGINT)) == 1


def is_cancelled(stage: Stage) -> None:
    is_interrupted(stage)
    assert stage.run("migrations", "cancel", stage.token).exit_code == 0
    assert stage.run("migrations", "show", stage.token, "--json").json["state"] == "cancelled"


def has_another_vault_key(stage: Stage) -> None:
    keys = new_key(), new_key()
    stage.passwords |= set(keys)
    stage.add(EUROSKY_VAULT_KEY=keys[0])
    assert stage.migrate(EUROSKY_VAULT_KEY=keys[1]) == (1, "vault_key_wrong")


CASES = [
    succeeds,
    is_given_a_wrong_password,
    is_refused_by_the_destination,
    cannot_reach_the_source,
    meets_a_host_that_fails_at_login_and_repeats_the_password,
    meets_a_host_that_fails_later_and_repeats_all_it_knows,
    meets_a_host_that_fails_at_every_blob_and_repeats_all_it_knows,
    is_given_a_damaged_repository,
    is_killed,
    is_interrupted,
    is_cancelled,
    has_another_vault_key,
]
WITHOUT_A_SESSION = [
    is_given_a_wrong_password,
    meets_a_host_that_fails_at_login_and_repeats_the_password,
    has_another_vault_key,
]

ON_POSTGRESQL = [meets_a_host_that_fails_at_every_blob_and_repeats_all_it_knows]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_run_leaves_no_secret_behind_and_prints_none_when_it(case: Callable[[Stage], None], stage: Stage) -> None:
    case(stage)
    stage.run("migrations", "show", stage.token, "--json")
    assert len(stage.passwords) >= 2
    assert stage.source.tokens | stage.destination.tokens or case in WITHOUT_A_SESSION
    assert traces([stage.account.did], stage.home), "it does look into the databases"
    assert traces(stage.secrets, stage.home) == []
    assert traces_in_text(stage.secrets, "\n".join(stage.said)) == []


@pytest.mark.parametrize("case", ON_POSTGRESQL, ids=lambda case: case.__name__)
def test_nor_does_it_leave_one_in_postgresql_its_files_or_its_log_when_it(
    case: Callable[[Stage], None], stage: Stage, postgres_server: PostgresServer, empty_postgres_url: str
) -> None:
    key = new_key()
    stage.variables |= {"EUROSKY_DATABASE_URL": empty_postgres_url, "EUROSKY_VAULT_KEY": key}
    stage.passwords |= {key, PASSWORD}
    database = empty_postgres_url.rsplit("/", 1)[1]
    case(stage)
    stage.run("migrations", "show", stage.token, "--json")
    assert stage.source.tokens | stage.destination.tokens
    assert traces_in_server([stage.account.did], postgres_server, database), "it does look into the database"
    assert traces_in_server(stage.secrets, postgres_server, database) == []
    assert traces(stage.secrets, stage.home) == []
    assert traces_in_text(stage.secrets, "\n".join(stage.said)) == []
