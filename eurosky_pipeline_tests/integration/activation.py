"""Making a sandbox's destination account the real one: what comes after this version, done as plainly as can be.

The PLC operation is signed with the source's rotation key, which the sandbox knows; nobody has to wait for a mail.
Spec: https://web.plc.directory/spec/v0.1/did-plc
"""

from __future__ import annotations

from base64 import urlsafe_b64encode

import httpx

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import cid_of
from eurosky_pipeline.atproto.keys import Curve, signing_key_of
from eurosky_pipeline.sandbox.state import SandboxState
from eurosky_pipeline.xrpc.client import XrpcClient


def activate(state: SandboxState, did: str, source: XrpcClient, destination: XrpcClient) -> None:
    """Deactivate the account at the source, have its DID document name the destination, and activate it there.

    Args:
        source, destination: both with the account's session.
    """
    source.procedure("com.atproto.server.deactivateAccount", {})
    last = httpx.get(f"{state.plc_url}/{did}/log/last", trust_env=False).raise_for_status().json()
    wanted = destination.query("com.atproto.identity.getRecommendedDidCredentials")
    operation = {"type": "plc_operation", **wanted, "prev": str(cid_of(dag_cbor.encode(last)))}
    key = signing_key_of(Curve.K256, bytes.fromhex(state.source_secrets.rotation_key_hex))
    signature = urlsafe_b64encode(key.sign(dag_cbor.encode(operation))).decode().rstrip("=")
    answer = httpx.post(f"{state.plc_url}/{did}", json={**operation, "sig": signature}, trust_env=False)
    assert answer.is_success, answer.text
    destination.procedure("com.atproto.server.activateAccount")
