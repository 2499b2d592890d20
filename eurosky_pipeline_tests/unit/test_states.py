"""The states and the ways between them, as a table that was written down by hand."""

from itertools import product

import pytest
from sqlalchemy import Dialect
from sqlalchemy.dialects import postgresql, sqlite

from eurosky_pipeline.registry.states import INACTIVE, STOPPED, State, is_allowed
from eurosky_pipeline.registry.tables import ONE_ACTIVE_PER_DID, migrations

ALLOWED = {
    "pending_repo": {"pending_blobs", "waiting", "failed", "cancelled"},
    "pending_blobs": {"pending_prefs", "waiting", "failed", "cancelled"},
    "pending_prefs": {"completed", "pending_blobs", "waiting", "failed", "cancelled"},
    "waiting": {"pending_repo", "pending_blobs", "pending_prefs", "failed", "cancelled"},
    "failed": {"pending_repo", "pending_blobs", "pending_prefs", "cancelled"},
    "cancelled": {"pending_repo", "pending_blobs", "pending_prefs", "failed"},
    "completed": set(),
}


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_every_pair_of_states_is_allowed_or_not_as_the_table_says(before: State, after: State) -> None:
    assert is_allowed(before, after) is (after in ALLOWED[before])


def test_the_names_are_the_contracts() -> None:
    assert [*State] == [
        "pending_repo",
        "pending_blobs",
        "pending_prefs",
        "waiting",
        "failed",
        "cancelled",
        "completed",
    ]


def test_a_stopped_migration_can_always_go_on() -> None:
    running = {State.PENDING_REPO, State.PENDING_BLOBS, State.PENDING_PREFS}
    assert all(is_allowed(stopped, state) for stopped in STOPPED for state in running)
    assert STOPPED.isdisjoint(running)


def test_a_waiting_migration_still_holds_its_did() -> None:
    assert State.WAITING not in INACTIVE


@pytest.mark.parametrize(
    ("dialect", "option"),
    [(sqlite.dialect(), "sqlite"), (postgresql.dialect(), "postgresql")],
    ids=["sqlite", "postgresql"],
)
def test_the_database_and_the_code_agree_on_which_states_are_inactive(dialect: Dialect, option: str) -> None:
    [index] = [index for index in migrations.indexes if index.name == ONE_ACTIVE_PER_DID]
    condition = str(index.dialect_options[option]["where"].compile(dialect=dialect))
    named = {state for state in State if f"'{state}'" in condition}
    assert index.unique
    assert condition.startswith("state NOT IN")
    assert named == INACTIVE
