"""A row judged by itself: what is sound, what is not, and that no reason tells a password."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from eurosky_pipeline.intake.entries import Defaults, Entry, Judge
from eurosky_pipeline.intake.rows import Row, RowRefused
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.xrpc.host_policy import HostPolicy

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
SECRET = "canary-hunter2"
SOUND = {
    "did": DID,
    "source_pds": "https://old.example",
    "destination_pds": "https://new.example",
    "destination_password": SECRET,
}
ENVIRONMENT = {"GIVEN": "from-the-environment", "EMPTY": "", "BYTES": "\udcff", "AWS_SECRET_ACCESS_KEY": SECRET}
ENVIRONMENT |= {"EUROSKY_VAULT_KEY": SECRET, "PGPASSWORD": SECRET}


def entry(defaults: Defaults | None = None, **values: str) -> Entry:
    given = {name: value for name, value in {**SOUND, **values}.items() if value}
    return Judge(HostPolicy(), ENVIRONMENT, defaults or Defaults()).entry(Row(2, given))


def test_a_sound_row_is_an_entry_in_the_registry_s_spelling() -> None:
    found = entry(handle=" @Alice.Example ", source_pds="https://OLD.example/", convert_legacy_blobs="Yes")
    assert (found.line, found.did, found.handle) == (2, DID, "alice.example")
    assert (found.source_pds, found.destination_pds) == ("https://old.example", "https://new.example")
    assert (found.convert_legacy_blobs, found.is_active_destination_allowed) == (True, False)
    assert found.passwords == {Side.DESTINATION: SecretStr(SECRET)}
    assert SECRET not in repr(found)


def test_a_handle_alone_will_do() -> None:
    assert (entry(did="", handle="a.example").did, entry(did="", handle="a.example").handle) == (None, "a.example")


def test_passwords_come_from_the_row_or_the_environment_or_the_command_in_that_order() -> None:
    defaults = Defaults(passwords={Side.DESTINATION: SecretStr("default"), Side.SOURCE: SecretStr("default")})
    found = entry(defaults, destination_password="", source_password_env="GIVEN")
    assert found.passwords == {Side.DESTINATION: SecretStr("default"), Side.SOURCE: SecretStr("from-the-environment")}
    assert entry(defaults).passwords[Side.DESTINATION] == SecretStr(SECRET)


def test_hosts_that_a_row_leaves_out_are_the_command_s() -> None:
    defaults = Defaults("https://default.example", "https://other.example")
    found = entry(defaults, source_pds="")
    assert (found.source_pds, found.destination_pds) == ("https://default.example", "https://new.example")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"did": "", "handle": ""}, "neither did nor handle"),
        ({"did": SECRET}, "did is not a DID"),
        ({"did": "did:plc:short"}, "did 'did:plc:short' is not a DID"),
        ({"did": "did:key:zabc"}, "method that is not supported"),
        ({"did": "did:plc:" + "a" * 5000}, "is not a DID"),
        ({"handle": SECRET}, "handle is not a handle"),
        ({"handle": "nodots"}, "handle is not a handle"),
        ({"source_pds": ""}, "source_pds is missing"),
        ({"source_pds": SECRET}, "source_pds is not a URL"),
        ({"source_pds": f"https://me:{SECRET}@old.example"}, "source_pds is not a URL"),
        ({"source_pds": "http://old.example"}, "source_pds: the host 'http://old.example' is plain http"),
        ({"destination_pds": "https://10.0.0.1"}, "not a public address"),
        ({"destination_pds": "https://localhost/path"}, "has a path"),
        ({"destination_pds": "https://" + "a" * 300}, "destination_pds"),
        ({"destination_pds": "https://old.example/"}, "same host"),
        ({"destination_password": ""}, "destination_password is missing"),
        ({"destination_password_env": "GIVEN"}, "both given"),
        ({"destination_password": "", "destination_password_env": "UNSET"}, "no variable of that name"),
        ({"destination_password": "", "destination_password_env": "EMPTY"}, "no variable of that name"),
        ({"destination_password": "", "destination_password_env": "BYTES"}, "no text"),
        ({"destination_password": "", "destination_password_env": SECRET}, "not the name of an environment variable"),
        ({"source_password_env": "EUROSKY_VAULT_KEY"}, "no host may be sent that"),
        ({"source_password_env": "AWS_SECRET_ACCESS_KEY"}, "no host may be sent that"),
        ({"source_password_env": "PGPASSWORD"}, "no host may be sent that"),
        ({"convert_legacy_blobs": SECRET}, "convert_legacy_blobs is neither true nor false"),
    ],
)
def test_what_is_not_sound_is_refused_with_a_short_reason_that_tells_no_password(
    values: dict[str, str], reason: str
) -> None:
    with pytest.raises(RowRefused) as caught:
        entry(**values)
    assert reason in caught.value.message
    assert SECRET not in caught.value.message
    assert len(caught.value.message) < 240
