"""The vault: passwords sealed for one migration and side, and readable nowhere else: not in the file, not in a repr."""

import base64
import multiprocessing
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from pydantic import SecretStr

from eurosky_pipeline.errors import FatalError, SettingsError
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.vault import KEY_FILE_NAME, Side, Vault, VaultError, new_key, open_vault
from eurosky_pipeline.settings import Settings

TOKEN = "EURO-0123456789ABCDEF"
OTHER_TOKEN = "EURO-FEDCBA9876543210"
PASSWORD = SecretStr("correct horse — bättery")
DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
NEW = NewMigration(DID, "https://old.example", "https://new.example")


def settings_of(home: Path, **values: str) -> Settings:
    return Settings(
        _env_file=None, **{"EUROSKY_HOME": home, "EUROSKY_DATABASE_URL": None, "EUROSKY_VAULT_KEY": None, **values}
    )


def vault_of(*keys: str) -> Vault:
    return Vault([key.encode() for key in keys])


def opened(vault: Vault, ciphertext: bytes, token: str = TOKEN, side: Side = Side.SOURCE) -> str:
    return vault.open(token, side, ciphertext).get_secret_value()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    found = open_registry(settings_of(tmp_path))
    yield found
    found.close()


@pytest.mark.parametrize("text", ["hunter2", "correct horse — bättery", "", "x" * 5000, "\x00\n", '"}'])
def test_a_sealed_password_opens_to_itself(text: str) -> None:
    vault = vault_of(new_key())
    assert opened(vault, vault.seal(TOKEN, Side.SOURCE, SecretStr(text))) == text


def test_the_same_password_is_never_sealed_to_the_same_bytes() -> None:
    vault = vault_of(new_key())
    assert vault.seal(TOKEN, Side.SOURCE, PASSWORD) != vault.seal(TOKEN, Side.SOURCE, PASSWORD)


def test_another_key_does_not_open_it_and_says_so() -> None:
    ciphertext = vault_of(new_key()).seal(TOKEN, Side.SOURCE, PASSWORD)
    with pytest.raises(VaultError, match=f"the source password of {TOKEN} cannot be decrypted") as caught:
        opened(vault_of(new_key()), ciphertext)
    assert caught.value.code == "vault_key_wrong"


@pytest.mark.parametrize("position", [0, 1, 20, 60, -1])
def test_a_changed_byte_is_noticed(position: int) -> None:
    vault = vault_of(new_key())
    ciphertext = bytearray(base64.urlsafe_b64decode(vault.seal(TOKEN, Side.SOURCE, PASSWORD)))
    ciphertext[position] ^= 1
    with pytest.raises(VaultError):
        opened(vault, base64.urlsafe_b64encode(ciphertext))


@pytest.mark.parametrize(("token", "side"), [(OTHER_TOKEN, Side.SOURCE), (TOKEN, Side.DESTINATION)])
def test_a_password_opens_for_its_own_migration_and_side_only(token: str, side: Side) -> None:
    vault = vault_of(new_key())
    with pytest.raises(VaultError, match="was sealed for another migration or side"):
        opened(vault, vault.seal(TOKEN, Side.SOURCE, PASSWORD), token, side)


def test_after_a_rotation_the_newest_key_seals_and_the_old_one_still_opens(tmp_path: Path) -> None:
    old, new = new_key(), new_key()
    sealed_before = vault_of(old).seal(TOKEN, Side.SOURCE, PASSWORD)
    rotated = open_vault(settings_of(tmp_path, EUROSKY_VAULT_KEY=f" {new} , {old},"))
    sealed_after = rotated.seal(TOKEN, Side.SOURCE, PASSWORD)
    assert opened(rotated, sealed_before) == opened(vault_of(new), sealed_after) == PASSWORD.get_secret_value()
    with pytest.raises(VaultError):
        opened(vault_of(old), sealed_after)


@pytest.mark.parametrize("key", ["hunter2", " ", ",", "A" * 44, f"{'A' * 43}=,short", "ключ"])
def test_what_is_no_key_is_refused_and_not_repeated(tmp_path: Path, key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_vault(settings_of(tmp_path, EUROSKY_VAULT_KEY=key))
    assert caught.value.code == "vault_key_invalid"
    assert key.strip(" ,") not in caught.value.with_hint() or not key.strip(" ,")
    assert not (tmp_path / KEY_FILE_NAME).exists()


@pytest.mark.parametrize("url", ["postgresql://db/eurosky", "postgresql+psycopg2://me:hunter2@db/eurosky"])
def test_a_database_server_needs_a_key_from_outside(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_vault(settings_of(tmp_path, EUROSKY_DATABASE_URL=url))
    assert caught.value.code == "vault_key_missing"
    assert "hunter2" not in caught.value.with_hint()
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_default_makes_its_key_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    ciphertext = open_vault(settings_of(home)).seal(TOKEN, Side.SOURCE, PASSWORD)
    assert [path.name for path in home.iterdir()] == [KEY_FILE_NAME]
    assert stat.S_IMODE((home / KEY_FILE_NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert opened(open_vault(settings_of(home)), ciphertext) == PASSWORD.get_secret_value()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o601])
def test_a_key_file_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    open_vault(settings_of(tmp_path))
    (tmp_path / KEY_FILE_NAME).chmod(mode)
    with pytest.raises(SettingsError, match="can be read by others") as caught:
        open_vault(settings_of(tmp_path))
    assert caught.value.code == "vault_key_exposed"
    assert "chmod 600" in caught.value.hint
    assert (tmp_path / KEY_FILE_NAME).read_text() not in caught.value.with_hint()


@pytest.mark.parametrize("raw", [b"", b"half a ke", b"\xff" * 44])
def test_a_damaged_key_file_is_refused_and_not_replaced(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / KEY_FILE_NAME
    path.touch(mode=0o600)
    path.write_bytes(raw)
    with pytest.raises(SettingsError) as caught:
        open_vault(settings_of(tmp_path))
    assert caught.value.code == "vault_key_invalid"
    assert path.read_bytes() == raw


def seal_in_each(homes: list[Path], barrier: Barrier) -> None:
    for home in homes:
        barrier.wait(10)
        ciphertext = open_vault(settings_of(home)).seal(TOKEN, Side.SOURCE, PASSWORD)
        (home / f"{multiprocessing.current_process().name}.sealed").write_bytes(ciphertext)


def test_two_processes_that_make_the_key_at_once_use_the_same(tmp_path: Path) -> None:
    homes = [tmp_path / str(number) for number in range(20)]
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    processes = [context.Process(target=seal_in_each, args=(homes, barrier)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
        assert process.exitcode == 0
    for home in homes:
        sealed = [path.read_bytes() for path in home.glob("*.sealed")]
        assert [opened(open_vault(settings_of(home)), each) for each in sealed] == [PASSWORD.get_secret_value()] * 2
        assert len(list(home.iterdir())) == 3  # and no scratch file is left


def test_a_migrations_passwords_come_back_by_side(registry: Registry) -> None:
    token = registry.add(NEW, {Side.DESTINATION: PASSWORD}).token
    found = registry.password(token, Side.DESTINATION)
    assert found is not None
    assert found.get_secret_value() == PASSWORD.get_secret_value()
    assert registry.password(token, Side.SOURCE) is None


def test_passwords_whose_rows_were_swapped_are_refused(registry: Registry, tmp_path: Path) -> None:
    token = registry.add(NEW, {Side.SOURCE: SecretStr("for the old"), Side.DESTINATION: SecretStr("for the new")}).token
    execute(
        tmp_path,
        "UPDATE credentials SET ciphertext = (SELECT ciphertext FROM credentials WHERE side = 'destination') "
        "WHERE side = 'source'",
    )
    with pytest.raises(VaultError, match="sealed for another migration or side"):
        registry.password(token, Side.SOURCE)


def test_a_password_is_kept_for_two_days_and_then_refused(registry: Registry, tmp_path: Path) -> None:
    token = registry.add(NEW, {Side.SOURCE: PASSWORD}).token
    hours = (
        "SELECT round((julianday(expires_at) - julianday(created_at)) * 24) FROM credentials NATURAL JOIN migrations"
    )
    assert execute(tmp_path, hours) == [(48.0,)]
    execute(tmp_path, "UPDATE credentials SET expires_at = '2020-01-01 00:00:00.000000'")
    with pytest.raises(SettingsError, match=f"the source password of {token} has expired") as caught:
        registry.password(token, Side.SOURCE)
    assert caught.value.code == "credentials_expired"


def test_no_byte_of_the_database_holds_a_password_or_the_key(registry: Registry, tmp_path: Path) -> None:
    token = registry.add(NEW, {Side.SOURCE: PASSWORD, Side.DESTINATION: SecretStr("hunter2-hunter2")}).token
    registry.password(token, Side.SOURCE)
    registry.acquire_lease(token, "run-1", 60)
    registry.fail(token, FatalError("x"))
    key = (tmp_path / KEY_FILE_NAME).read_bytes()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["registry.sqlite", "registry.sqlite-shm", "registry.sqlite-wal", KEY_FILE_NAME]
    kept = b"".join((tmp_path / name).read_bytes() for name in names[:3])
    assert token.encode() in kept  # the rows are in there, and not still on their way
    for secret in (b"correct horse", b"hunter2", key, base64.urlsafe_b64decode(key)):
        for spelling in (secret, base64.b64encode(secret)[:8], secret.hex().encode()):
            assert spelling not in kept


def test_nothing_that_holds_a_secret_shows_it(registry: Registry, tmp_path: Path) -> None:
    key = new_key()
    vault = vault_of(key)
    token = registry.add(NEW, {Side.SOURCE: PASSWORD}).token
    shown = [vault, vars(vault), registry, vars(registry), registry.get(token), registry.password(token, Side.SOURCE)]
    own_key = (tmp_path / KEY_FILE_NAME).read_text()
    for text in (f"{each!r} {each}" for each in shown):
        assert not [secret for secret in (key, own_key, "correct horse") if secret in text]


def execute(home: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(home / "registry.sqlite", timeout=5)) as connection, connection:
        return connection.execute(statement).fetchall()
