"""The vault's key is changed while migrations wait, run and are added; a lost key is told, and has a way out."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, update

from eurosky_pipeline.cli.main import main
from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.registry import rotation as rotation_module
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.rotation import Rotated, Rotation, open_rotation
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.tables import credentials
from eurosky_pipeline.registry.vault import KEY_FILE_NAME, Side, Vault, VaultError, new_key
from eurosky_pipeline.settings import Settings
from eurosky_pipeline.xrpc.errors import RateLimited
from eurosky_pipeline_tests.conftest import Sql

OLD, NEW = new_key(), new_key()
PASSWORD, OTHER = SecretStr("correct horse"), SecretStr("bättery staple")


def given(settings: Settings, *keys: str) -> Settings:
    return settings.model_copy(update={"vault_key": SecretStr(",".join(keys)) if keys else None})


def add(registry: Registry, number: int = 0) -> str:
    new = NewMigration(
        f"did:plc:{'a' * 22}{'abcdefghij'[number // 10]}{'abcdefghij'[number % 10]}",
        "https://old.example",
        "https://new.example",
    )
    return registry.add(new, {Side.DESTINATION: PASSWORD, Side.SOURCE: OTHER}).token


def passwords_of(settings: Settings, token: str) -> tuple[str, str]:
    registry = open_registry(settings)
    try:
        found = [registry.password(token, side) for side in (Side.DESTINATION, Side.SOURCE)]
    finally:
        registry.close()
    return tuple(each.get_secret_value() for each in found if each is not None)  # type: ignore[return-value]


BOTH = (PASSWORD.get_secret_value(), OTHER.get_secret_value())


def rotate(settings: Settings, *, is_dropping: bool = False) -> Rotated:
    opened = open_rotation(settings)
    try:
        return opened.rotate(is_dropping=is_dropping)
    finally:
        opened.close()


def test_a_key_is_changed_while_a_migration_waits_and_then_the_old_one_is_not_needed(settings: Settings) -> None:
    registry = open_registry(given(settings, OLD))
    token = add(registry)
    registry.wait(token, datetime.now(UTC) + timedelta(days=3), RateLimited("no more today"))
    done = rotate(given(settings, NEW, OLD))
    assert (done.rotated, done.unchanged, done.unreadable, done.older_left) == (2, 0, (), 0)
    assert passwords_of(given(settings, NEW), token) == BOTH
    with pytest.raises(VaultError):
        passwords_of(given(settings, OLD), token)
    registry.resume(token)
    assert registry.get(token).state is State.PENDING_REPO
    registry.close()


@pytest.mark.parametrize("database_url", [None])
def test_a_key_file_that_is_kept_elsewhere_is_rotated_there(settings: Settings, tmp_path: Path) -> None:
    registry = open_registry(settings)
    token = add(registry)
    registry.close()
    link, kept = settings.home / KEY_FILE_NAME, tmp_path / "kept.key"
    link.rename(kept)
    link.symlink_to(kept)
    before = kept.read_bytes()
    rotate(settings)
    assert link.is_symlink()
    assert kept.read_bytes() != before
    assert passwords_of(settings, token) == BOTH


def test_a_second_rotation_finds_nothing_to_do(settings: Settings, sql: Sql) -> None:
    registry = open_registry(given(settings, OLD))
    add(registry)
    registry.close()
    rotate(given(settings, NEW, OLD))
    before = sql("SELECT ciphertext FROM credentials ORDER BY side")
    assert rotate(given(settings, NEW, OLD)).rotated == 0
    assert sql("SELECT ciphertext FROM credentials ORDER BY side") == before


def test_many_batches_are_rotated_and_none_is_left_out(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation_module, "_BATCH_ROWS", 3)
    registry = open_registry(given(settings, OLD))
    tokens = [add(registry, number) for number in range(5)]
    registry.close()
    assert rotate(given(settings, NEW, OLD)).rotated == 10
    assert [passwords_of(given(settings, NEW), token) for token in tokens] == [BOTH] * 5


def test_what_no_key_opens_is_named_and_left_as_it_is_unless_it_is_to_go(settings: Settings, sql: Sql) -> None:
    registry = open_registry(given(settings, new_key()))
    lost = add(registry, 1)
    registry.close()
    registry = open_registry(given(settings, OLD))
    kept = add(registry, 2)
    registry.close()
    before = sql("SELECT ciphertext FROM credentials WHERE token = :token", token=lost)
    done = rotate(given(settings, NEW, OLD))
    assert (done.rotated, sorted(done.unreadable)) == (2, [(lost, "destination"), (lost, "source")])
    assert sql("SELECT ciphertext FROM credentials WHERE token = :token", token=lost) == before
    assert rotate(given(settings, NEW, OLD), is_dropping=True).dropped == 2
    assert len(passwords_of(given(settings, NEW), lost)) == 0
    assert passwords_of(given(settings, NEW), kept) == BOTH


def test_passwords_that_were_swapped_between_migrations_are_not_sealed_anew(settings: Settings, sql: Sql) -> None:
    registry = open_registry(given(settings, OLD))
    first, second = add(registry, 1), add(registry, 2)
    registry.close()
    sql(
        "UPDATE credentials SET ciphertext = (SELECT c.ciphertext FROM credentials c WHERE c.token = :second AND "
        "c.side = 'source') WHERE token = :first AND side = 'source'",
        first=first,
        second=second,
    )
    done = rotate(given(settings, NEW, OLD))
    assert (done.rotated, done.unreadable) == (3, ((first, "source"),))


def test_a_password_that_is_given_anew_at_the_same_moment_stays(
    settings: Settings, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = open_registry(given(settings, OLD))
    token = add(registry)
    registry.close()
    anew = Vault([NEW.encode()]).seal(token, Side.SOURCE, SecretStr("given anew"))
    read = rotation_module._pages

    def pages(engine: Engine) -> Iterator[list[object]]:
        for rows in read(engine):
            with engine.begin() as connection:
                connection.execute(update(credentials).where(credentials.c.side == "source").values(ciphertext=anew))
            yield list(rows)

    monkeypatch.setattr(rotation_module, "_pages", pages)
    assert rotate(given(settings, NEW, OLD)).rotated == 1
    assert passwords_of(given(settings, NEW), token) == (PASSWORD.get_secret_value(), "given anew")


def test_a_host_that_goes_on_sealing_with_the_old_key_is_told_of(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = open_registry(given(settings, OLD))
    add(registry)
    finish = Rotation._finish
    numbers = iter(range(1, 99))

    def finish_late(self: Rotation, *, is_dropping: bool) -> int:
        add(registry, next(numbers))
        return finish(self, is_dropping=is_dropping)

    monkeypatch.setattr(Rotation, "_finish", finish_late)
    assert rotate(given(settings, NEW, OLD)).older_left == 2
    registry.close()


@pytest.mark.parametrize("database_url", [None])
class TestKeyFile:
    """The embedded default's own file: what is rotated is the file too."""

    def test_a_new_key_takes_the_old_ones_place_for_who_works_meanwhile_too(self, settings: Settings) -> None:
        path = settings.home / KEY_FILE_NAME
        registry = open_registry(settings)
        token, old = add(registry, 1), path.read_text()
        done = rotate(settings)
        assert (done.rotated, done.is_key_new, done.key_count) == (2, True, 1)
        assert len(path.read_text().split()) == 1
        assert path.read_text() != old
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        found = registry.password(token, Side.SOURCE)
        assert found is not None
        assert found.get_secret_value() == OTHER.get_secret_value()
        later = add(registry, 2)
        registry.close()
        assert passwords_of(settings, later) == passwords_of(settings, token) == BOTH

    @pytest.mark.parametrize("name", ["_reseal", "_finish"])
    def test_a_rotation_that_was_broken_off_goes_on_with_the_key_that_it_made(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        registry = open_registry(settings)
        token = add(registry)

        def broken_off(*_: object, **__: object) -> int:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Rotation, name, broken_off)
            with pytest.raises(KeyboardInterrupt):
                rotate(settings)
        path = settings.home / KEY_FILE_NAME
        newest, _ = path.read_text().split()
        assert passwords_of(settings, token) == BOTH
        done = rotate(settings)
        assert (done.is_key_new, path.read_text().split()) == (False, [newest])
        assert passwords_of(settings, token) == BOTH
        registry.close()

    def test_the_old_key_stays_while_something_cannot_be_read(self, settings: Settings, sql: Sql) -> None:
        registry = open_registry(settings)
        token = add(registry)
        registry.close()
        sql("UPDATE credentials SET ciphertext = :other WHERE side = 'source'", other=b"nonsense")
        done = rotate(settings)
        assert (done.unreadable, done.key_count) == (((token, "source"),), 2)
        assert rotate(settings, is_dropping=True).key_count == 1

    def test_what_is_added_while_keys_change_again_and_again_can_be_read_in_the_end(self, settings: Settings) -> None:
        is_over, tokens = threading.Event(), []

        def add_on(start: int) -> None:
            registry = open_registry(settings)
            for number in range(start, start + 30):
                tokens.append(add(registry, number))
                if is_over.wait(0.01):
                    break
            registry.close()

        threads = [threading.Thread(target=add_on, args=(start,)) for start in (0, 30, 60)]
        open_registry(settings).close()
        for thread in threads:
            thread.start()
        for _ in range(4):
            assert rotate(settings).unreadable == ()
        is_over.set()
        for thread in threads:
            thread.join(60)
        rotate(settings)
        assert len((settings.home / KEY_FILE_NAME).read_text().split()) == 1
        assert len(tokens) >= 3
        assert [passwords_of(settings, token) for token in tokens] == [BOTH] * len(tokens)

    def test_a_lost_key_is_told_nothing_is_half_written_and_no_other_takes_its_place(self, settings: Settings) -> None:
        registry = open_registry(settings)
        token = add(registry)
        registry.close()
        path = settings.home / KEY_FILE_NAME
        path.unlink()
        registry = open_registry(settings)
        for act in (lambda: registry.password(token, Side.SOURCE), lambda: add(registry, 1), lambda: rotate(settings)):
            with pytest.raises(SettingsError, match="is gone, and stored passwords were sealed with it") as caught:
                act()
            assert caught.value.code == "vault_key_lost"
        assert [migration.token for migration in registry.find()] == [token]
        assert not path.exists()
        assert rotate(settings, is_dropping=True).dropped == 2
        assert registry.password(token, Side.SOURCE) is None
        later = add(registry, 1)
        registry.close()
        assert passwords_of(settings, later) == BOTH


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, object]]:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--json"])
    return int(str(ended.value.code)), json.loads(capsys.readouterr().out)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path))
    monkeypatch.delenv("EUROSKY_DATABASE_URL", raising=False)
    monkeypatch.delenv("EUROSKY_VAULT_KEY", raising=False)
    return tmp_path


def test_the_commands_count_by_key_and_leave_with_3_where_something_cannot_be_read(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EUROSKY_VAULT_KEY", OLD)
    registry = open_registry(Settings(_env_file=None))
    token = add(registry)
    registry.close()
    monkeypatch.setenv("EUROSKY_VAULT_KEY", f"{NEW},{OLD}")
    code, found = run(capsys, "vault", "status")
    assert (code, found["newest_key"], found["older_keys"], found["unreadable"]) == (0, 0, 2, [])
    assert found["earliest_expiry"]
    assert run(capsys, "vault", "rotate")[1]["rotated"] == 2
    monkeypatch.setenv("EUROSKY_VAULT_KEY", OLD)
    unreadable = [{"token": token, "side": "destination"}, {"token": token, "side": "source"}]
    for words in (["status"], ["rotate"]):
        code, found = run(capsys, "vault", *words)
        assert (code, found["unreadable"]) == (3, unreadable)
    code, found = run(capsys, "vault", "rotate", "--drop-unreadable")
    assert (code, found["dropped"], found["unreadable"]) == (0, 2, [])
    assert not (home / KEY_FILE_NAME).exists()


def test_no_command_of_the_vault_shows_a_password_or_a_stored_key(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    registry = open_registry(Settings(_env_file=None))
    add(registry)
    registry.close()
    secrets = [*BOTH, (home / KEY_FILE_NAME).read_text().strip()]
    for words in (["status"], ["rotate"], ["status", "--json"]):
        with pytest.raises(SystemExit) as ended:
            main(["vault", *words])
        assert ended.value.code == 0
    secrets.append((home / KEY_FILE_NAME).read_text().strip())
    said = capfd.readouterr()
    assert "rotated" in said.out
    assert not [secret for secret in secrets if secret in said.out + said.err]
