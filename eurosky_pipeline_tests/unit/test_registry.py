"""The registry: who may be added, how a migration moves, what a failure keeps; also when several ask at once."""

from collections.abc import Callable

import pytest
from sqlalchemy.exc import StatementError

from eurosky_pipeline.errors import ConflictError, FatalError, SettingsError
from eurosky_pipeline.registry.migration import Migration, NewMigration, is_token, new_token
from eurosky_pipeline.registry.registry import LeaseHeldError, Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.conftest import Sql
from eurosky_pipeline_tests.registering import DID, OTHER_DID, add, at_once, walk

REPO, BLOBS, PREFS = State.PENDING_REPO, State.PENDING_BLOBS, State.PENDING_PREFS
WAITING, FAILED, CANCELLED, COMPLETED = State.WAITING, State.FAILED, State.CANCELLED, State.COMPLETED


def test_a_new_migration_waits_for_its_repo(registry: Registry) -> None:
    migration = add(registry)
    assert is_token(migration.token)
    assert (migration.did, migration.handle, migration.state) == (DID, "a.example", REPO)
    assert (migration.source_pds, migration.destination_pds) == ("https://old.example", "https://new.example")
    assert (migration.stopped_in, migration.error_code, migration.attempts) == (None, None, 0)
    assert (migration.progress_data, migration.lease_holder) == ({}, None)
    assert migration.created_at == migration.updated_at
    assert migration.created_at.utcoffset() is not None
    assert registry.get(migration.token) == migration


def test_migrations_are_found_oldest_first_and_by_state(registry: Registry) -> None:
    first, second = add(registry), add(registry, OTHER_DID)
    walk(registry, first.token, BLOBS)
    assert [m.token for m in registry.find()] == [first.token, second.token]
    assert [m.token for m in registry.find([REPO, FAILED])] == [second.token]
    assert registry.find([COMPLETED]) == []


@pytest.mark.parametrize("token", ["", "EURO-0000000000000000", "EURO-x", "' OR 1=1 --", "../../etc"])
def test_a_token_that_nobody_has_is_told_as_that(registry: Registry, token: str) -> None:
    add(registry)
    with pytest.raises(SettingsError, match="there is no migration") as caught:
        registry.get(token)
    assert caught.value.code == "unknown_token"


def test_a_did_has_one_active_migration(registry: Registry) -> None:
    token = add(registry).token
    for state in (BLOBS, PREFS, WAITING):
        walk(registry, token, state)
        with pytest.raises(ConflictError, match=f"already has an active migration, {token}") as caught:
            add(registry)
        assert caught.value.code == "already_active"
        assert ("cancel TOKEN --finished" in caught.value.hint) == (state is PREFS), "another way leads nowhere"
    add(registry, OTHER_DID)


@pytest.mark.parametrize("path", [(FAILED,), (CANCELLED,), (BLOBS, PREFS, COMPLETED)])
def test_a_did_may_be_added_again_once_its_migration_is_over(registry: Registry, path: tuple[State, ...]) -> None:
    first = add(registry).token
    walk(registry, first, *path)
    assert add(registry).token != first


def test_a_refused_migration_leaves_no_password_behind(registry: Registry, sql: Sql) -> None:
    add(registry)
    with pytest.raises(ConflictError):
        add(registry)
    assert sql("SELECT count(*) FROM credentials") == [(1,)]


def test_of_eight_that_add_the_same_did_at_once_one_succeeds(settings: Settings) -> None:
    results = at_once(settings, 8, lambda registry, _: add(registry))
    assert [type(result) for result in results].count(Migration) == 1
    assert [type(result) for result in results].count(ConflictError) == 7


def test_of_eight_that_move_a_migration_at_once_one_succeeds(registry: Registry, settings: Settings) -> None:
    token = add(registry).token
    results = at_once(settings, 8, lambda mine, number: mine.transition(token, REPO, BLOBS, {"winner": number}))
    assert results.count(None) == 1
    assert registry.get(token).progress_data == {"winner": results.index(None)}


def test_a_transition_from_a_state_that_is_over_is_a_conflict_and_changes_nothing(registry: Registry) -> None:
    token = add(registry).token
    walk(registry, token, BLOBS)
    before = registry.get(token)
    with pytest.raises(ConflictError, match=f"{token} is pending_blobs, and not pending_repo as expected"):
        registry.transition(token, REPO, BLOBS, {"late": True})
    assert registry.get(token) == before


def test_a_transition_that_does_not_exist_is_refused_even_from_the_right_state(registry: Registry) -> None:
    token = add(registry).token
    with pytest.raises(ConflictError, match=r"there is no way for .* from pending_repo to pending_prefs"):
        registry.transition(token, REPO, PREFS)
    assert registry.get(token).state is REPO


def test_a_transition_whose_progress_cannot_be_written_does_not_happen(registry: Registry) -> None:
    token = add(registry).token
    with pytest.raises(StatementError):
        registry.transition(token, REPO, BLOBS, {"not": object()})
    assert registry.get(token).state is REPO


@pytest.mark.parametrize("stop", [FAILED, WAITING, CANCELLED])
@pytest.mark.parametrize("path", [(), (BLOBS,), (BLOBS, PREFS)], ids=["repo", "blobs", "prefs"])
def test_a_resumed_migration_goes_on_where_it_stopped(registry: Registry, path: tuple[State, ...], stop: State) -> None:
    token = add(registry).token
    walk(registry, token, *path)
    stopped_in = registry.get(token).state
    walk(registry, token, stop)
    assert registry.get(token).stopped_in is stopped_in
    resumed = registry.resume(token)
    assert (resumed.state, resumed.stopped_in) == (stopped_in, None)


def test_a_migration_that_stops_twice_remembers_where_it_was_at_first(registry: Registry) -> None:
    token = add(registry).token
    walk(registry, token, BLOBS, WAITING, CANCELLED)
    assert registry.resume(token).state is BLOBS


@pytest.mark.parametrize("path", [(), (BLOBS,), (BLOBS, PREFS, COMPLETED)])
def test_resuming_what_is_not_stopped_changes_nothing(registry: Registry, path: tuple[State, ...]) -> None:
    token = add(registry).token
    walk(registry, token, *path)
    before = registry.get(token)
    assert registry.resume(token) == before == registry.get(token)


def test_a_failed_migration_cannot_go_on_beside_a_newer_one(registry: Registry) -> None:
    old = add(registry).token
    walk(registry, old, FAILED)
    new = add(registry).token
    with pytest.raises(ConflictError, match=f"already has an active migration, {new}"):
        registry.resume(old)
    assert registry.get(old).state is FAILED


def test_a_failure_keeps_code_text_and_hint_until_the_migration_goes_on(registry: Registry) -> None:
    token = add(registry).token
    walk(registry, token, BLOBS)
    registry.fail(token, FatalError("the disk is full", code="disk_full", hint="make room"))
    failed = registry.get(token)
    assert (failed.state, failed.stopped_in) == (FAILED, BLOBS)
    assert (failed.error_code, failed.error_text) == ("disk_full", "the disk is full → make room")
    resumed = registry.resume(token)
    assert (resumed.error_code, resumed.error_text) == (None, None)


def test_a_failure_after_a_cancellation_changes_nothing(registry: Registry) -> None:
    token = add(registry).token
    walk(registry, token, BLOBS, CANCELLED)
    before = registry.get(token)
    assert not registry.fail(token, FatalError("too late"))
    assert registry.get(token) == before


def test_only_the_run_that_holds_the_lease_can_fail_a_migration(registry: Registry) -> None:
    token = add(registry).token
    registry.acquire_lease(token, "the-new-run", 60)
    assert not registry.fail(token, FatalError("x"), holder="the-old-run")
    assert registry.get(token).state is REPO
    assert registry.fail(token, FatalError("x"), holder="the-new-run")
    assert registry.get(token).state is FAILED


def test_a_stopped_migration_skips_nothing_when_it_goes_on(registry: Registry) -> None:
    token = add(registry).token
    walk(registry, token, FAILED)
    with pytest.raises(ConflictError, match="no way"):
        registry.transition(token, FAILED, PREFS)
    assert registry.get(token).state is FAILED


def test_a_failures_text_is_bounded(registry: Registry) -> None:
    token = add(registry).token
    registry.fail(token, FatalError("x" * 100_000))
    assert registry.get(token).error_text == "x" * 2000


def test_progress_is_merged_and_none_removes_a_key(registry: Registry) -> None:
    token = add(registry).token
    registry.record(token, {"blob_count": 3, "failed_blobs": ["a"], "blobs_started_at": "2026-01-01T00:00:00Z"})
    registry.record(token, {"blob_count": 4, "blobs_started_at": None, "never_there": None})
    registry.record(token, {})
    assert registry.get(token).progress_data == {"blob_count": 4, "failed_blobs": ["a"]}


def test_progress_that_several_write_at_once_is_merged_and_none_is_lost(registry: Registry, settings: Settings) -> None:
    token = add(registry).token

    def write(mine: Registry, number: int) -> None:
        for step in range(5):
            mine.record(token, {f"{number}.{step}": True})

    assert at_once(settings, 6, write) == [None] * 6
    assert len(registry.get(token).progress_data) == 30


def test_each_change_moves_the_moment_of_the_last_change(registry: Registry) -> None:
    token = add(registry).token
    moments = [registry.get(token).updated_at]
    for change in (
        lambda: registry.record(token, {"a": 1}),
        lambda: registry.transition(token, REPO, BLOBS),
        lambda: registry.fail(token, FatalError("x")),
        lambda: registry.resume(token),
    ):
        change()
        moments.append(registry.get(token).updated_at)
    assert moments == sorted(set(moments))


@pytest.mark.parametrize(
    ("did", "handle", "destination", "code"),
    [
        ("alice.example", None, "https://new.example", "did_invalid"),
        ("did:plc:short", None, "https://new.example", "did_invalid"),
        ("did:foo:bar", None, "https://new.example", "did_unsupported"),
        (DID, "alice", "https://new.example", "handle_invalid"),
        (DID, None, "https://old.example", "same_host"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(did: str, handle: str | None, destination: str, code: str) -> None:
    with pytest.raises(SettingsError) as caught:
        NewMigration(did, "https://old.example", destination, handle=handle)
    assert caught.value.code == code


def test_tokens_are_opaque_safe_in_paths_and_never_the_same() -> None:
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(is_token(token) for token in tokens)


@pytest.mark.parametrize(
    "text", ["", "EURO-", "EURO-0123456789abcdef", "EURO-0123456789ABCDEF\n", "EURO-../../../../../."]
)
def test_what_is_no_token_is_none(text: str) -> None:
    assert not is_token(text)


def test_a_migration_that_is_given_up_makes_room_and_can_be_taken_up_again(registry: Registry) -> None:
    token = add(registry).token
    walk(registry, token, BLOBS)
    registry.request_cancel(token)
    registry.request_cancel(token)
    assert registry.get(token).state is CANCELLED
    assert registry.resume(token).state is BLOBS


@pytest.mark.parametrize("is_wanted", [True, False, None])
def test_a_person_decides_anew_whether_legacy_blobs_are_converted(registry: Registry, is_wanted: bool | None) -> None:
    token = add(registry).token
    registry.override_conversion(token, is_wanted=not is_wanted)
    registry.override_conversion(token, is_wanted=is_wanted)
    assert registry.get(token).convert_legacy_blobs is is_wanted
    with pytest.raises(SettingsError, match="there is no migration"):
        registry.override_conversion("EURO-" + "0" * 16, is_wanted=True)


@pytest.mark.parametrize("stop", [lambda r, t: r.fail(t, FatalError("no")), lambda r, t: r.request_cancel(t)])
def test_a_stopped_migration_is_retried_where_it_stopped(
    registry: Registry, stop: Callable[[Registry, str], object]
) -> None:
    token = add(registry).token
    walk(registry, token, BLOBS)
    stop(registry, token)
    assert registry.retry(token).state is BLOBS
    assert registry.retry(token).state is BLOBS
    assert registry.get(token).error_code is None


def test_what_a_run_works_on_is_neither_retried_nor_decided_anew(registry: Registry) -> None:
    token = add(registry).token
    registry.acquire_lease(token, "a-run", 60)
    registry.fail(token, FatalError("another step of that run"))
    with pytest.raises(LeaseHeldError, match="a-run"):
        registry.retry(token)
    with pytest.raises(LeaseHeldError, match="a-run"):
        registry.override_conversion(token, is_wanted=True)
    assert registry.get(token).state is FAILED
    assert registry.get(token).convert_legacy_blobs is None
    registry.release_leases("a-run")
    assert registry.retry(token).state is REPO
