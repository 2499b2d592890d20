"""Two processes that want the same at the same moment: one gets it, the other is told, and nothing is half done."""

import multiprocessing
from collections.abc import Callable
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

from eurosky_pipeline.errors import ConflictError
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.settings import Settings

ROUNDS = 5
CONTEXT = multiprocessing.get_context("fork")
Act = Callable[[Registry, str, int], object]
"""What a process does to the migration of a round; it has a number of its own, 0 or 1."""


def new(number: int) -> NewMigration:
    return NewMigration(f"did:web:race-{number}.example", "https://old.example", "https://new.example")


def run(settings: Settings, barrier: Barrier, tokens: list[str], number: int, act: Act, results: Connection) -> None:
    with closing(open_registry(settings)) as registry:
        for token in tokens:
            barrier.wait(60)
            try:
                results.send(("done", act(registry, token, number)))
            except ConflictError as error:
                results.send((error.code, None))


def race(settings: Settings, tokens: list[str], act: Act) -> list[list[tuple[str, object]]]:
    """For each of the tokens, what the two processes got."""
    barrier = CONTEXT.Barrier(2)
    pipes = [CONTEXT.Pipe(duplex=False) for _ in range(2)]
    processes = [
        CONTEXT.Process(target=run, args=(settings, barrier, tokens, number, act, pipe[1]))
        for number, pipe in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    found = [sorted((pipe[0].recv() for pipe in pipes), key=str) for _ in tokens]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    return found


def test_one_of_two_processes_gets_the_lease(settings: Settings, registry: Registry) -> None:
    tokens = [registry.add(new(number), {}).token for number in range(ROUNDS)]
    found = race(settings, tokens, lambda registry, token, number: registry.acquire_lease(token, f"run-{number}", 60))
    assert found == [[("done", True), ("lease_held", None)]] * ROUNDS
    for token in tokens:
        migration = registry.get(token)
        (attempt,) = registry.attempts_of(token)
        assert (migration.attempts, migration.lease_holder) == (1, attempt.holder)


def test_one_of_two_processes_moves_a_migration(settings: Settings, registry: Registry) -> None:
    tokens = [registry.add(new(number), {}).token for number in range(ROUNDS)]

    def move(registry: Registry, token: str, number: int) -> None:
        registry.transition(token, State.PENDING_REPO, State.PENDING_BLOBS, {f"by_{number}": True})

    assert race(settings, tokens, move) == [[("done", None), ("state_conflict", None)]] * ROUNDS
    for token in tokens:
        assert registry.get(token).state is State.PENDING_BLOBS
        assert len(registry.get(token).progress_data) == 1  # the loser's is not there


def test_one_of_two_processes_registers_an_account(settings: Settings, registry: Registry) -> None:
    def add(registry: Registry, name: str, _: int) -> None:
        registry.add(new(int(name)), {})

    found = race(settings, [str(number) for number in range(ROUNDS)], add)
    assert found == [[("already_active", None), ("done", None)]] * ROUNDS
    assert sorted(migration.did for migration in registry.find()) == [new(number).did for number in range(ROUNDS)]


def test_two_processes_that_write_the_same_progress_and_ledger_lose_nothing(
    settings: Settings, registry: Registry
) -> None:
    tokens = [registry.add(new(number), {}).token for number in range(ROUNDS)]

    def write(registry: Registry, token: str, number: int) -> None:
        for step in range(10):
            registry.record(token, {f"{number}_{step}": step})
            registry.acquire_lease(token, "run-1", 60)

    assert race(settings, tokens, write) == [[("done", None)] * 2] * ROUNDS
    assert all(len(registry.get(token).progress_data) == 20 for token in tokens)
