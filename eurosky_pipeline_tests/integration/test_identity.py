"""Who an account is, asked of real servers: a PLC directory, PDSes that know handles, and the migration that asks."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import httpx
import pytest

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import cid_of
from eurosky_pipeline.atproto.keys import Curve, SigningKey, parse_document_key, signing_key_of
from eurosky_pipeline.identity.account import identify
from eurosky_pipeline.identity.did import DidNotFoundError, resolve_did
from eurosky_pipeline.identity.directory import Directory
from eurosky_pipeline.identity.document import DidDocument
from eurosky_pipeline.identity.handle import HandleNotFoundError, resolve_handle
from eurosky_pipeline.identity.well_known import well_known_did
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.sandbox.directory import directory_for
from eurosky_pipeline.sandbox.seed import SeededAccount, seed
from eurosky_pipeline.sandbox.state import allowed_addresses
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.xrpc.client import new_http_client
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline_tests.integration.command import eurosky
from eurosky_pipeline_tests.pipeline import Run, register, run_job
from eurosky_pipeline_tests.stub_pds import Answer, stub_pds


@pytest.fixture(scope="module")
def account(sandbox) -> SeededAccount:
    return seed(sandbox.state, records=5, blobs=1, blob_bytes=1_000, report=print)


@pytest.fixture(scope="module")
def another(sandbox) -> SeededAccount:
    return seed(sandbox.state, records=5, blobs=1, blob_bytes=1_000, report=print)


@pytest.fixture(scope="module")
def registry(sandbox) -> Registry:
    return open_registry(load_settings())


@pytest.fixture
def directory(sandbox) -> Iterator[Directory]:
    policy = HostPolicy(allowed_addresses=allowed_addresses(sandbox.home))
    with new_http_client(1, policy) as http:
        yield directory_for(load_settings(), http, policy, sandbox.state.source_pds)


@pytest.mark.parametrize("kind", ["handle", "did"])
def test_a_real_account_is_found_by_either_name_and_checked_both_ways(directory, account, kind: str) -> None:
    found = identify(directory, getattr(account, kind))
    assert (found.did, found.handle, found.pds_url) == (account.did, account.handle, account.source_pds)
    assert found.is_handle_verified
    assert found.doubt == ""
    assert parse_document_key(found.signing_key.type, found.signing_key.public_key_multibase).curve is Curve.K256


def test_a_handle_that_no_real_server_knows_is_not_found(directory) -> None:
    with pytest.raises(HandleNotFoundError):
        resolve_handle(directory, "nobody-is-called-that.test")


class ToSandbox(httpx.BaseTransport):
    """To a handle's web server, which is the PDS: by name, and on loopback instead of over TLS."""

    def __init__(self, url: str) -> None:
        self._real, self._port = httpx.HTTPTransport(), httpx.URL(url).port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(scheme="http", host="localhost", port=self._port)  # the Host header stays
        return self._real.handle_request(request)


def test_a_real_server_names_the_did_at_the_handles_well_known_address(account, monkeypatch) -> None:
    policy = HostPolicy(is_private_allowed=True)
    monkeypatch.setattr(HostPolicy, "check_reachable", lambda _, url: url)  # no DNS knows the sandbox's handles
    with httpx.Client(transport=ToSandbox(account.source_pds)) as http:
        directory = Directory(http, policy, account.plc_url)
        assert well_known_did(directory, account.handle) == account.did
        assert well_known_did(directory, "nobody-is-called-that.test") is None


def test_a_did_web_is_read_from_a_server_of_a_test_network() -> None:
    with stub_pds() as server:
        port = httpx.URL(server.url).port
        did = f"did:web:localhost%3A{port}"
        server.routes["/.well-known/did.json"] = lambda _: Answer.of_json({"id": did})
        policy = HostPolicy(allowed_addresses=frozenset({("localhost", port)}))
        with new_http_client(1, policy) as http:
            assert resolve_did(Directory(http, policy, "https://plc.directory"), did) == DidDocument(did, None, None)


@dataclass(frozen=True)
class OwnDid:
    """A DID whose owner is this file: it can say what it likes of itself, and be given up."""

    plc_url: str
    key: SigningKey
    did: str
    last: bytes

    def give_up(self) -> None:
        prev = str(cid_of(self.last))
        self.submit(self.plc_url, self.did, signed(self.key, {"type": "plc_tombstone", "prev": prev}))

    @staticmethod
    def submit(plc_url: str, did: str, operation: dict) -> None:
        assert httpx.post(f"{plc_url}/{did}", json=operation).status_code == 200


def signed(key: SigningKey, operation: dict) -> dict:
    signature = base64.urlsafe_b64encode(key.sign(dag_cbor.encode(operation))).decode().rstrip("=")
    return {**operation, "sig": signature}


def new_did(plc_url: str, curve: Curve) -> OwnDid:
    """Spec: https://web.plc.directory/spec/v0.1/did-plc"""
    key = signing_key_of(curve, hashlib.sha256(b"a key for tests").digest())
    genesis = signed(
        key,
        {
            "type": "plc_operation",
            "rotationKeys": [key.public_key.did_key],
            "verificationMethods": {"atproto": key.public_key.did_key, "other": key.public_key.did_key},
            "alsoKnownAs": ["https://elsewhere.example", "at://First.test", "at://second.test"],
            "services": {
                "atproto_labeler": {"type": "AtprotoLabeler", "endpoint": "https://labeler.example"},
                "atproto_pds": {"type": "AtprotoPersonalDataServer", "endpoint": "https://PDS.example:443/"},
            },
            "prev": None,
        },
    )
    data = dag_cbor.encode(genesis)
    did = "did:plc:" + base64.b32encode(hashlib.sha256(data).digest()).decode().lower()[:24]
    OwnDid.submit(plc_url, did, genesis)
    return OwnDid(plc_url, key, did, data)


@pytest.mark.parametrize("curve", list(Curve))
def test_what_the_real_directory_says_of_a_did_is_read_until_it_is_given_up(
    sandbox, directory: Directory, curve: Curve
) -> None:
    own = new_did(sandbox.state.plc_url, curve)
    found = resolve_did(directory, own.did)
    assert (found.did, found.pds_url, found.handle) == (own.did, "https://pds.example", "first.test")
    assert parse_document_key(found.signing_key.type, found.signing_key.public_key_multibase) == own.key.public_key

    own.give_up()
    with pytest.raises(DidNotFoundError) as caught:
        resolve_did(directory, own.did)
    assert caught.value.code == "did_tombstoned"


def export(registry: Registry, account: SeededAccount, **changes: object) -> Run:
    return run_job(registry, register(registry, account, **changes).token, assets=["exported_car"])


def test_a_migration_of_an_account_with_its_own_handle_has_nothing_to_warn_of(registry, account) -> None:
    run = export(registry, account)
    assert run.result.success
    metadata = run.metadata("exported_car")
    assert metadata["warnings"] == []
    assert metadata["is_handle_verified"] is True
    assert metadata["is_signature_verified"] is True
    registry.request_cancel(run.migration.token, is_finished_too=True)


def test_a_migration_with_another_accounts_handle_stops_before_anything_is_read(
    sandbox, registry, account, another
) -> None:
    run = export(registry, account, handle=another.handle)
    assert not run.result.success
    assert (run.migration.state, run.migration.error_code) == (State.FAILED, "handle_mismatch")
    assert another.did in run.failure_text
    assert list(sandbox.home.glob(f"*/{run.migration.token}/*")) == []  # neither scratch nor artifacts


def test_a_handle_that_nobody_knows_is_a_warning_and_the_export_goes_on(registry, another, capfd) -> None:
    run = export(registry, another, handle="nobody-is-called-that.test")
    assert run.result.success
    metadata = run.metadata("exported_car")
    assert metadata["is_handle_verified"] is False
    unknown, unclaimed = metadata["warnings"]
    assert unknown.startswith("the handle could not be confirmed")
    assert unclaimed == (
        f"the DID document claims the handle {another.handle}, and not the handle given, nobody-is-called-that.test"
    )
    assert unclaimed in metadata["summary"]
    assert unclaimed in capfd.readouterr().err  # the run's log
    registry.request_cancel(run.migration.token, is_finished_too=True)


def test_a_document_that_names_another_server_and_key_is_a_warning_each_and_the_source_given_is_used(
    registry, account, monkeypatch
) -> None:
    other_key = signing_key_of(Curve.P256, bytes(range(32))).public_key
    document = {
        "id": account.did,
        "verificationMethod": [
            {"id": "#atproto", "type": "Multikey", "controller": account.did, "publicKeyMultibase": other_key.multikey}
        ],
        "alsoKnownAs": [f"at://{account.handle}"],
        "service": [
            {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://other.example"}
        ],
    }
    with stub_pds() as plc:
        plc.routes[f"/{account.did}"] = lambda _: Answer.of_json(document)
        monkeypatch.setenv("EUROSKY_ALLOW_PRIVATE_HOSTS", "true")
        monkeypatch.setenv("EUROSKY_PLC_URL", plc.url)
        run = export(registry, account)
    assert run.result.success
    warning = f"the DID document names https://other.example, and not the source given, {account.source_pds}"
    metadata = run.metadata("exported_car")
    assert metadata["warnings"][0] == warning
    assert f"is not signed by {other_key.did_key}" in metadata["warnings"][1]
    assert metadata["is_handle_verified"] is True
    assert metadata["is_signature_verified"] is False
    assert all(text in metadata["summary"] for text in metadata["warnings"])
    registry.request_cancel(run.migration.token, is_finished_too=True)


@pytest.mark.parametrize("kind", ["handle", "did"])
def test_the_command_shows_an_account_of_the_sandbox(sandbox, account, kind: str) -> None:
    name = getattr(account, kind)
    shown = eurosky("identity", "resolve", name, "--sandbox", "--json", home=sandbox.home)
    assert shown.exit_code == 0
    found = shown.json
    key = found.pop("signing_key")
    public_key = parse_document_key(key["type"], key["public_key_multibase"])
    assert public_key.curve is Curve.K256
    assert found == {
        "did_key": public_key.did_key,
        "did": account.did,
        "handle": account.handle,
        "is_handle_verified": True,
        "pds_url": account.source_pds,
        "doubt": "",
    }


def test_the_command_for_people_says_how_far_the_handle_is_checked(sandbox, account) -> None:
    shown = eurosky("identity", "resolve", f"@{account.handle}", "--sandbox", home=sandbox.home)
    assert shown.exit_code == 0
    for expected in (account.did, account.handle, "both ways", account.source_pds):
        assert expected in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["alice.test"], "handle_reserved"),
        (["not a handle"], "handle_invalid"),
        (["did:plc:short"], "did_invalid"),
        (["did:web:bsky.team:alice"], "did_unsupported"),
        (["nobody-is-called-that.test", "--sandbox"], "handle_not_found"),
        ([f"did:plc:{'z' * 24}", "--sandbox"], "did_not_found"),
    ],
)
def test_the_command_names_what_is_wrong(sandbox, arguments: list[str], code: str) -> None:
    shown = eurosky("identity", "resolve", *arguments, "--json", home=sandbox.home)
    assert shown.exit_code == 1
    assert shown.json["error"]["code"] == code


def test_the_command_wants_a_sandbox_where_it_is_told_to_ask_one(tmp_path) -> None:
    shown = eurosky("identity", "resolve", "alice.test", "--sandbox", "--json", home=tmp_path)
    assert (shown.exit_code, shown.json["error"]["code"]) == (1, "sandbox_down")


def test_adding_a_migration_asks_nobody_and_keeps_the_handle_in_its_one_spelling(sandbox, account) -> None:
    """The sandbox's PDS is not asked: neither the handle nor the DID exists."""
    stranger = replace(account, did="did:plc:" + "y" * 24)
    added = eurosky(
        *("migrations", "add", "--json", "--did", stranger.did, "--handle", "@Nobody.Is.Called-That.TEST"),
        *("--source-pds", account.source_pds, "--destination-pds", account.destination_pds),
        *("--destination-password-env", "PASSWORD"),
        home=sandbox.home,
        PASSWORD="x",
    )
    assert added.exit_code == 0
    shown = eurosky("migrations", "show", added.json["token"], "--json", home=sandbox.home)
    assert shown.json["handle"] == "nobody.is.called-that.test"
    eurosky("migrations", "cancel", added.json["token"], home=sandbox.home)
