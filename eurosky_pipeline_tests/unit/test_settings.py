"""Settings: read once from the environment, typed, and silent about what they hold."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.settings import S3Location, Settings, load_settings

ALIASES = sorted(str(field.validation_alias) for field in Settings.model_fields.values())

READ = [
    ("EUROSKY_HOME", "/srv/eurosky", "home", Path("/srv/eurosky")),
    ("DAGSTER_HOME", "/srv/dagster", "dagster_home", Path("/srv/dagster")),
    ("EUROSKY_DATABASE_URL", "postgresql://u@h/d", "database_url", "postgresql://u@h/d"),
    ("EUROSKY_ARTIFACTS", "/srv/artifacts", "artifacts", Path("/srv/artifacts")),
    ("EUROSKY_VAULT_KEY", "new,old", "vault_key", "new,old"),
    ("EUROSKY_PLC_URL", "https://plc.example", "plc_url", "https://plc.example"),
    ("EUROSKY_ALLOW_PRIVATE_HOSTS", "true", "is_private_hosts_allowed", True),
    ("CONVERT_LEGACY_BLOBS", "1", "is_legacy_conversion_enabled", True),
    ("UNKNOWN_BLOB_SIZE", "sentinel", "unknown_blob_size", "sentinel"),
    ("EUROSKY_RECORD_TRANSFORMS", " moved_links,legacy_blobs ", "record_transforms", ("moved_links", "legacy_blobs")),
    ("PARALLEL_BLOBS", "64", "parallel_blobs", 64),
    ("MAX_BLOB_RETRIES", "0", "max_blob_retries", 0),
    ("EUROSKY_MAX_WAIT_S", "0.5", "max_wait_s", 0.5),
    ("EUROSKY_RATE_LIMIT_BYPASS", "pds.example=k-1", "rate_limit_bypass", "pds.example=k-1"),
    ("EUROSKY_MAX_BYTES_PER_S", "1024", "max_bytes_per_s", 1024),
    ("PROGRESS_UPDATE_INTERVAL", "1", "progress_update_interval", 1),
    ("EUROSKY_MAX_REPO_BYTES", "1000", "max_repo_bytes", 1000),
    ("EUROSKY_MAX_BLOB_BYTES", "1000", "max_blob_bytes", 1000),
    ("EUROSKY_RETENTION_DAYS", "30", "retention_days", 30),
    ("EUROSKY_INTAKE_FOLDER", "/srv/intake", "intake_folder", Path("/srv/intake")),
    ("EUROSKY_INTAKE_SOURCES", "registered", "intake_sources", ("registered",)),
    ("EUROSKY_EVENT_SINKS", "none", "event_sinks", ()),
    ("EUROSKY_WEBHOOK_URL", "https://hooks.example/x", "webhook_url", "https://hooks.example/x"),
    ("EUROSKY_WEBHOOK_SECRET", "s3cret", "webhook_secret", "s3cret"),
    ("EUROSKY_SENSORS_OFF", "new_migrations, resume_waiting", "sensors_off", ("new_migrations", "resume_waiting")),
]

REFUSED = [
    ("EUROSKY_HOME", "~nobody-of-this-name/state"),
    ("EUROSKY_ARTIFACTS", "~nobody-of-this-name/artifacts"),
    ("EUROSKY_ARTIFACTS", "gs://bucket/folder"),
    ("EUROSKY_ARTIFACTS", "s3a://bucket/folder"),
    ("EUROSKY_ARTIFACTS", "file:///srv/artifacts"),
    ("EUROSKY_ARTIFACTS", "s3:/bucket/folder"),
    ("EUROSKY_ARTIFACTS", "s3:///folder"),
    ("EUROSKY_ARTIFACTS", "s3://x"),
    ("EUROSKY_ARTIFACTS", "s3://Bucket"),
    ("EUROSKY_ARTIFACTS", "s3://AKIA1:s3cret@bucket/folder"),
    ("EUROSKY_ARTIFACTS", "s3://bucket/../folder"),
    ("EUROSKY_ARTIFACTS", "s3://bucket//folder"),
    ("EUROSKY_ARTIFACTS", "s3://bucket/folder?versionId=s3cret"),
    ("EUROSKY_ARTIFACTS", "s3://bucket/" + "f" * 513),
    ("EUROSKY_ALLOW_PRIVATE_HOSTS", "perhaps-17"),
    ("CONVERT_LEGACY_BLOBS", "perhaps-17"),
    ("UNKNOWN_BLOB_SIZE", "Keep-17"),
    ("EUROSKY_EVENT_SINKS", "log,log"),
    ("EUROSKY_SENSORS_OFF", "New-migrations"),
    ("EUROSKY_RECORD_TRANSFORMS", "Moved_links"),
    ("EUROSKY_RECORD_TRANSFORMS", "legacy_blobs,,moved_links"),
    ("EUROSKY_RECORD_TRANSFORMS", "legacy_blobs;moved_links"),
    ("EUROSKY_RECORD_TRANSFORMS", "légacy_blobs"),
    ("EUROSKY_RECORD_TRANSFORMS", "17_links"),
    ("EUROSKY_RECORD_TRANSFORMS", "links,links"),
    ("EUROSKY_RECORD_TRANSFORMS", '["links"]'),
    ("EUROSKY_RECORD_TRANSFORMS", ","),
    ("EUROSKY_RECORD_TRANSFORMS", "l" * 65),
    ("EUROSKY_RECORD_TRANSFORMS", ",".join(f"t{n}" for n in range(32))),
    ("PARALLEL_BLOBS", "0"),
    ("PARALLEL_BLOBS", "65"),
    ("PARALLEL_BLOBS", "fünf-17"),
    ("MAX_BLOB_RETRIES", "11"),
    ("EUROSKY_MAX_WAIT_S", "-17"),
    ("EUROSKY_MAX_WAIT_S", "inf"),
    ("EUROSKY_MAX_WAIT_S", "nan"),
    ("EUROSKY_RATE_LIMIT_BYPASS", "key-without-a-host"),
    ("EUROSKY_RATE_LIMIT_BYPASS", "pds.example="),
    ("EUROSKY_RATE_LIMIT_BYPASS", "=s3cret-key"),
    ("EUROSKY_RATE_LIMIT_BYPASS", "pds.example=s3cret key"),
    ("EUROSKY_RATE_LIMIT_BYPASS", "pds.example = s3cret-1"),
    ("EUROSKY_RATE_LIMIT_BYPASS", "pds.example=s3crét"),
    ("EUROSKY_RATE_LIMIT_BYPASS", "pds.example=s3cret-1,,other.example=s3cret-2"),
    ("EUROSKY_RATE_LIMIT_BYPASS", "pds.example=s3cret-1,https://pds.example:443=s3cret-2"),
    ("EUROSKY_RATE_LIMIT_BYPASS", "me:pw@pds.example=s3cret-1"),
    ("EUROSKY_RATE_LIMIT_BYPASS", "https://pds.example/path=s3cret-1"),
    ("EUROSKY_RATE_LIMIT_BYPASS", "ftp://pds.example=s3cret-1"),
    ("EUROSKY_RATE_LIMIT_BYPASS", "pds.example:port=s3cret-1"),
    ("EUROSKY_RATE_LIMIT_BYPASS", "pds.example:99999=s3cret-1"),
    ("EUROSKY_RATE_LIMIT_BYPASS", "pds éxample=s3cret-1"),
    ("EUROSKY_RATE_LIMIT_BYPASS", "pds.example=" + "s" * 1025),
    ("EUROSKY_RATE_LIMIT_BYPASS", '{"pds.example": "s3cret-1"'),
    ("EUROSKY_RATE_LIMIT_BYPASS", '{"pds.example": 17}'),
    ("EUROSKY_RATE_LIMIT_BYPASS", '{"pds.example": {"s3cret": "s3cret"}}'),
    ("EUROSKY_RATE_LIMIT_BYPASS", '{"pds.example": "s3cret-1", "pds.example": "s3cret-2"}'),
    ("EUROSKY_RATE_LIMIT_BYPASS", '{"a":' * 100_000),
    ("EUROSKY_MAX_BYTES_PER_S", "1023"),
    ("EUROSKY_MAX_BYTES_PER_S", "1 MB-17"),
    ("PROGRESS_UPDATE_INTERVAL", "0"),
    ("EUROSKY_MAX_REPO_BYTES", "-17"),
    ("EUROSKY_MAX_BLOB_BYTES", "2 GiB-17"),
    ("EUROSKY_RETENTION_DAYS", "0"),
    ("EUROSKY_RETENTION_DAYS", "30d-17"),
]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for alias in ALIASES:
        monkeypatch.delenv(alias, raising=False)
    monkeypatch.chdir(tmp_path)


def test_everything_has_a_default() -> None:
    settings = load_settings()
    assert settings.home.is_absolute()
    assert settings.home.name == "eurosky"
    assert settings.resolved_dagster_home == settings.home / "dagster"
    assert settings.resolved_artifacts == settings.home / "artifacts"
    assert (settings.parallel_blobs, settings.progress_update_interval) == (5, 10)
    assert (settings.max_blob_retries, settings.max_wait_s) == (3, 120)
    assert (settings.unknown_blob_size, settings.record_transforms) == ("keep", ("legacy_blobs",))
    assert (settings.is_private_hosts_allowed, settings.is_legacy_conversion_enabled) == (False, False)
    unset = (settings.database_url, settings.artifacts, settings.vault_key, settings.plc_url, settings.dagster_home)
    assert unset == (None,) * 5
    assert (settings.rate_limit_bypass, settings.max_bytes_per_s) == (None, None)


@pytest.mark.parametrize(("alias", "text", "name", "expected"), READ)
def test_each_variable_sets_its_field(
    monkeypatch: pytest.MonkeyPatch, alias: str, text: str, name: str, expected: object
) -> None:
    monkeypatch.setenv(alias, text)
    found = getattr(load_settings(), name)
    assert (found.get_secret_value() if hasattr(found, "get_secret_value") else found) == expected


def test_the_table_above_leaves_no_variable_out() -> None:
    assert sorted(alias for alias, *_ in READ) == ALIASES


@pytest.mark.parametrize("alias", ALIASES)
def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch, alias: str) -> None:
    default = load_settings()
    monkeypatch.setenv(alias, "")
    assert load_settings() == default


@pytest.mark.parametrize(("alias", "text"), REFUSED)
def test_a_bad_value_is_refused_by_the_variables_name_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, alias: str, text: str
) -> None:
    monkeypatch.setenv(alias, text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert alias in caught.value.message
    assert "Value error" not in caught.value.message
    assert ".env.example" in caught.value.hint
    if len(text) > 2 and text != "1023":  # "0" stands in the bounds that the message names
        assert text not in caught.value.with_hint()
    assert "s3cr" not in caught.value.with_hint() + repr(caught.value) + repr(caught.value.__context__)


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("s3://bucket", S3Location("bucket")),
        ("s3://bucket/", S3Location("bucket")),
        ("s3://my.bucket-1/eu/year=2026/", S3Location("my.bucket-1", "eu/year=2026")),
    ],
)
def test_artifacts_may_be_on_s3(monkeypatch: pytest.MonkeyPatch, text: str, location: S3Location) -> None:
    monkeypatch.setenv("EUROSKY_ARTIFACTS", text)
    assert load_settings().resolved_artifacts == location
    assert str(location) == text.rstrip("/")


def test_a_scheme_that_is_not_supported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUROSKY_ARTIFACTS", "gs://bucket")
    with pytest.raises(SettingsError, match=r"a local folder or s3://bucket/prefix, and not gs://"):
        load_settings()


def test_all_bad_values_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLEL_BLOBS", "many")
    monkeypatch.setenv("PROGRESS_UPDATE_INTERVAL", "seldom")
    with pytest.raises(SettingsError, match=r"PARALLEL_BLOBS.*PROGRESS_UPDATE_INTERVAL"):
        load_settings()


@pytest.mark.parametrize(
    ("alias", "name"), [("EUROSKY_HOME", "home"), ("DAGSTER_HOME", "dagster_home"), ("EUROSKY_ARTIFACTS", "artifacts")]
)
def test_a_relative_folder_is_made_absolute_where_the_settings_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, alias: str, name: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv(alias, "state/here")
    assert str(getattr(load_settings(), name)) == str(tmp_path / "state/here")
    monkeypatch.setenv(alias, "~/state")
    assert str(getattr(load_settings(), name)) == str(tmp_path / "me/state")


@pytest.mark.parametrize(
    "url", ["nonsense", "plc.directory", "ftp://plc.directory", "https://", "https://me:pw@plc.example"]
)
def test_a_directory_that_is_no_url_is_found_out_before_a_migration_fails_of_it(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("EUROSKY_PLC_URL", url)
    with pytest.raises(SettingsError, match="EUROSKY_PLC_URL") as caught:
        load_settings()
    assert "pw" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("moved_links,legacy_blobs", ("moved_links", "legacy_blobs")),
        ("moved_links", ("legacy_blobs", "moved_links")),
    ],
)
def test_legacy_blobs_has_its_own_switch_and_so_a_place_whether_or_not_the_order_names_it(
    monkeypatch: pytest.MonkeyPatch, text: str, names: tuple[str, ...]
) -> None:
    monkeypatch.setenv("EUROSKY_RECORD_TRANSFORMS", text)
    assert load_settings().record_transforms == names


BYPASS = [
    ("pds.example=k-1", "https://pds.example", "k-1"),
    ("pds.example=k-1", "https://pds.example:8443", None),
    ("pds.example=k-1", "http://pds.example", None),
    ("pds.example=k-1", "https://other.example", None),
    ("pds.example=k-1", "https://evil.pds.example", None),
    ("pds.example=k-1", "https://pds.example.evil.example", None),
    (" PDS.Example.:443=k=1 , localhost:2583=k-2", "https://pds.example", "k=1"),
    (" PDS.Example.:443=k=1 , localhost:2583=k-2", "http://localhost:2583", "k-2"),
    ("https://pds.example/=k-1", "https://pds.example", "k-1"),
    ("http://pds.example=k-1", "http://pds.example", "k-1"),
    ("[2001:db8::1]:8443=k-1", "https://[2001:db8::1]:8443", "k-1"),
    ('{"pds.example": "k,1", "localhost:2583": "k-2"}', "https://pds.example", "k,1"),
]


@pytest.mark.parametrize(("text", "url", "key"), BYPASS)
def test_a_key_against_rate_limits_is_for_its_own_host_and_port(
    monkeypatch: pytest.MonkeyPatch, text: str, url: str, key: str | None
) -> None:
    monkeypatch.setenv("EUROSKY_RATE_LIMIT_BYPASS", text)
    found = load_settings().bypass_key(url)
    assert (None if found is None else found.get_secret_value()) == key


def test_the_environment_wins_over_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PARALLEL_BLOBS=2\nPROGRESS_UPDATE_INTERVAL=3\nSOMEBODY_ELSES=1\n")
    monkeypatch.setenv("PARALLEL_BLOBS", "9")
    settings = load_settings()
    assert (settings.parallel_blobs, settings.progress_update_interval) == (9, 3)


def test_secrets_do_not_stand_in_the_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUROSKY_VAULT_KEY", "this-is-the-key")
    monkeypatch.setenv("EUROSKY_DATABASE_URL", "postgresql://me:this-is-the-password@db/eurosky")
    monkeypatch.setenv("EUROSKY_RATE_LIMIT_BYPASS", "pds.example=this-is-the-bypass")
    settings = load_settings()
    shown = (
        repr(settings),
        str(settings),
        settings.model_dump_json(),
        repr(settings.bypass_key("https://pds.example")),
    )
    for text in shown:
        assert "this-is-the" not in text


def test_settings_do_not_change_once_read() -> None:
    with pytest.raises(ValidationError):
        load_settings().parallel_blobs = 6  # type: ignore[misc]
