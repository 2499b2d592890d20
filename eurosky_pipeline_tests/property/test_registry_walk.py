"""Any walk through the registry ends where a dictionary says it must: states, progress, leases, the one active row."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from eurosky_pipeline.errors import ConflictError, FatalError
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import LeaseHeldError, open_registry
from eurosky_pipeline.registry.states import INACTIVE, RUNNING, STOPPED, State, is_allowed
from eurosky_pipeline.settings import Settings
from eurosky_pipeline.xrpc.errors import RateLimited
from eurosky_pipeline_tests.postgres import PostgresServer, settings_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DIDS = ("did:plc:ewvi7nxzyoun6zhxrhs64oiz", "did:plc:z72i7hdynmk6r22z27h6tvur")
KEYS = st.sampled_from(["blob_count", "failed_blobs", "blobs_started_at"])
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3)
VALUES = st.none() | st.integers(0, 9) | st.lists(TEXTS, max_size=2)


class RegistryWalk(RuleBasedStateMachine):
    """The model is what a reader of the docstrings would write: a dictionary a migration."""

    tokens = Bundle("tokens")

    @initialize()
    def open(self) -> None:
        self.home = tempfile.TemporaryDirectory()
        self.registry = open_registry(self._settings())
        self.rows: dict[str, dict] = {}

    def teardown(self) -> None:
        for token, row in self.rows.items():
            assert len(self.registry.attempts_of(token)) == row["attempts"]
        self.registry.close()
        self.home.cleanup()

    def _settings(self) -> Settings:
        return settings_of(Path(self.home.name), None)

    def _is_did_taken(self, did: str, but: str = "") -> bool:
        return any(r["did"] == did and r["state"] not in INACTIVE for t, r in self.rows.items() if t != but)

    @rule(target=tokens, did=st.sampled_from(DIDS))
    def add(self, did: str) -> object:
        try:
            token = self.registry.add(NewMigration(did, "https://old.example", "https://new.example"), {}).token
        except ConflictError:
            assert self._is_did_taken(did)
            return multiple()
        assert not self._is_did_taken(did)
        self.rows[token] = {
            "did": did,
            "state": State.PENDING_REPO,
            "stopped_in": None,
            "error": None,
            "until": None,
            "progress": {},
            "holder": None,
            "attempts": 0,
        }
        return token

    @rule(token=tokens, before=st.sampled_from(State), after=st.sampled_from(State), key=KEYS, value=VALUES)
    def transition(self, token: str, before: State, after: State, key: str, value: object) -> None:
        row = self.rows[token]
        is_way_back = before in STOPPED and after in RUNNING
        try:
            self.registry.transition(token, before, after, {key: value})
        except ConflictError:
            is_elsewhere = is_way_back and (after is not row["stopped_in"] or self._is_did_taken(row["did"], but=token))
            assert row["state"] is not before or not is_allowed(before, after) or is_elsewhere
            return
        assert not is_way_back or after is row["stopped_in"]
        assert row["state"] is before
        if after not in STOPPED:
            row |= {"stopped_in": None, "error": None}
        elif before not in STOPPED:
            row["stopped_in"] = before
        row |= {"state": after, "until": None}
        self._merge(row, key, value)

    @rule(token=tokens)
    def go_on(self, token: str) -> None:
        """The step that a run takes most often, which random pairs seldom hit."""
        before = self.rows[token]["state"]
        after = {State.PENDING_REPO: State.PENDING_BLOBS, State.PENDING_BLOBS: State.PENDING_PREFS}.get(before)
        if after is not None:
            self.registry.transition(token, before, after)
            self.rows[token]["state"] = after

    @rule(token=tokens)
    def resume(self, token: str) -> None:
        row = self.rows[token]
        try:
            state = self.registry.resume(token).state
        except ConflictError:
            assert row["state"] in STOPPED & INACTIVE
            assert self._is_did_taken(row["did"], but=token)
            return
        if row["state"] in STOPPED:
            row |= {"state": row["stopped_in"], "stopped_in": None, "error": None, "until": None}
        assert state is row["state"]

    @rule(token=tokens, code=st.sampled_from(["disk_full", "auth"]))
    def fail(self, token: str, code: str) -> None:
        row = self.rows[token]
        is_running = row["state"] in RUNNING
        assert self.registry.fail(token, FatalError("it broke", code=code)) == is_running
        if is_running:
            row |= {"state": State.FAILED, "stopped_in": row["state"], "error": code}

    @rule(token=tokens, minutes=st.integers(-5, 5))
    def wait(self, token: str, minutes: int) -> None:
        row = self.rows[token]
        is_running, until = row["state"] in RUNNING, NOON + timedelta(minutes=minutes)
        assert self.registry.wait(token, until, RateLimited("patience")) == is_running
        if is_running:
            row |= {"state": State.WAITING, "stopped_in": row["state"], "error": "rate_limited", "until": until}

    @rule()
    def due(self) -> None:
        waiting = {token: row["until"] for token, row in self.rows.items() if row["state"] is State.WAITING}
        found = [migration.token for migration in self.registry.watch.due(NOON, 1000)]
        assert set(found) == {token for token, until in waiting.items() if until is None or until <= NOON}
        moments = [until for until in waiting.values() if until is not None]
        assert self.registry.watch.earliest_resume() == min(moments, default=None)

    @rule(token=tokens, key=KEYS, value=VALUES)
    def record(self, token: str, key: str, value: object) -> None:
        self.registry.record(token, {key: value})
        self._merge(self.rows[token], key, value)

    @rule(token=tokens, holder=st.sampled_from(["run-1", "run-2"]))
    def acquire(self, token: str, holder: str) -> None:
        row = self.rows[token]
        held_by, is_held = row["holder"] or (None, False)
        try:
            self.registry.acquire_lease(token, holder, 600)
        except LeaseHeldError:
            assert is_held
            assert held_by != holder
            return
        assert not is_held or held_by == holder
        row["attempts"] += held_by != holder
        row["holder"] = (holder, True)

    @rule(holder=st.sampled_from(["run-1", "run-2"]))
    def release(self, holder: str) -> None:
        self.registry.release_leases(holder)
        for row in self.rows.values():
            if row["holder"] and row["holder"][0] == holder:
                row["holder"] = (holder, False)

    def _merge(self, row: dict, key: str, value: object) -> None:
        row["progress"].pop(key, None)
        if value is not None:
            row["progress"][key] = value

    @invariant()
    def the_registry_says_what_the_model_says(self) -> None:
        found = {migration.token: migration for migration in self.registry.find()}
        assert found.keys() == self.rows.keys()
        for token, row in self.rows.items():
            migration = found[token]
            assert (migration.state, migration.stopped_in) == (row["state"], row["stopped_in"])
            assert (migration.error_code, migration.progress_data) == (row["error"], row["progress"])
            assert (migration.attempts, migration.resume_at) == (row["attempts"], row["until"])
            assert (migration.stopped_in is None) == (migration.state not in STOPPED)


RegistryWalk.TestCase.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestRegistryWalk = RegistryWalk.TestCase


def test_a_walk_on_postgresql_ends_there_too(postgres_url: str, postgres_server: PostgresServer) -> None:
    class Walk(RegistryWalk):
        def _settings(self) -> Settings:
            postgres_server.execute(postgres_url.rpartition("/")[2], "DELETE FROM migrations")
            return settings_of(Path(self.home.name), postgres_url)

    run_state_machine_as_test(Walk, settings=settings(RegistryWalk.TestCase.settings, max_examples=8))
