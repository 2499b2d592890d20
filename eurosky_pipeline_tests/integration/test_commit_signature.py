"""Signatures beside the reference implementation: a real account's commit, and the same bytes from the same key."""

import json
import subprocess
from pathlib import Path

import httpx
import pytest

from eurosky_pipeline.atproto.commit import sign, verify_signature
from eurosky_pipeline.atproto.keys import (
    Curve,
    PublicKey,
    SignatureError,
    parse_did_key,
    parse_document_key,
    signing_key_of,
)
from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.sandbox.node import node_binary
from eurosky_pipeline.sandbox.packages import ensure_packages
from eurosky_pipeline.sandbox.seed import SeededAccount, seed

REFERENCE = """
const { P256Keypair, Secp256k1Keypair, verifySignature } = require('@atproto/crypto')
const kinds = { p256: P256Keypair, k256: Secp256k1Keypair }
const bytes = (text) => Uint8Array.from(Buffer.from(text, 'hex'))
const main = async () => {
  const asked = JSON.parse(require('fs').readFileSync(0, 'utf8'))
  const answers = []
  for (const { curve, secret, message, signature } of asked) {
    const key = await kinds[curve].import(secret)
    answers.push({
      did_key: key.did(),
      signature: Buffer.from(await key.sign(bytes(message))).toString('hex'),
      is_ours_valid: await verifySignature(key.did(), bytes(message), bytes(signature)),
    })
  }
  console.log(JSON.stringify(answers))
}
main()
"""


@pytest.fixture(scope="module")
def account(sandbox) -> SeededAccount:
    return seed(sandbox.state, records=3, blobs=0, blob_bytes=0, report=print)


def key_of(account: SeededAccount) -> PublicKey:
    document = httpx.get(f"{account.plc_url}/{account.did}", trust_env=False, timeout=30).json()
    (method,) = [
        found for found in document["verificationMethod"] if found["id"].removeprefix(account.did) == "#atproto"
    ]
    assert method["controller"] == account.did
    return parse_document_key(method["type"], method["publicKeyMultibase"])


def test_a_real_commit_is_signed_by_the_key_that_the_plc_directory_names(account, tmp_path: Path) -> None:
    path = tmp_path / "account.car"
    url = f"{account.source_pds}/xrpc/com.atproto.sync.getRepo"
    path.write_bytes(httpx.get(url, params={"did": account.did}, trust_env=False, timeout=60).content)
    key = key_of(account)
    other = signing_key_of(key.curve, bytes(range(32)))
    with open_repo(path) as repo:
        assert repo.commit.did == account.did
        verify_signature(repo.commit, key)
        with pytest.raises(SignatureError):
            verify_signature(repo.commit, other.public_key)
        with pytest.raises(SignatureError):
            verify_signature(sign(repo.commit, other), key)


def test_the_reference_implementation_signs_byte_for_byte_as_we_do_and_accepts_our_signatures() -> None:
    asked, ours = [], []
    for curve in Curve:
        for number in range(1, 26):
            key, message = signing_key_of(curve, bytes([number]) * 32), bytes(range(number))
            signature = key.sign(message).hex()
            asked.append(
                {"curve": curve, "secret": f"{number:02x}" * 32, "message": message.hex(), "signature": signature}
            )
            ours.append({"did_key": key.public_key.did_key, "signature": signature, "is_ours_valid": True})
            assert parse_did_key(key.public_key.did_key) == key.public_key
    done = subprocess.run(
        [str(node_binary()), "--eval", REFERENCE],
        input=json.dumps(asked),
        cwd=ensure_packages(print),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ours
