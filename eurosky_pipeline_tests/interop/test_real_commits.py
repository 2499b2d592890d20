"""The commits of real repositories, and who signed them; from bluesky-social/indigo (MIT / Apache-2.0)."""

import json
from dataclasses import replace

import pytest

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.commit import unsigned_bytes, verify_signature
from eurosky_pipeline.atproto.keys import PublicKey, SignatureError, parse_document_key
from eurosky_pipeline.atproto.repo import open_repo

ORDER_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture
def repos(fixtures):
    return fixtures / "indigo-repos"


def document_key(folder, name: str) -> PublicKey:
    document = json.loads((folder / f"{name}.didDoc.json").read_text(encoding="utf-8"))
    (method,) = document["verificationMethod"]
    return parse_document_key(method["type"], method["publicKeyMultibase"])


@pytest.mark.parametrize("name", ["fakermaker", "greenground"])
def test_what_was_signed_is_the_real_block_without_its_sig(repos, name):
    with open_repo(repos / f"{name}.repo.car") as repo:
        fields = dag_cbor.decode(repo.block(repo.root))
        del fields["sig"]
        assert unsigned_bytes(repo.commit) == dag_cbor.encode(fields)


def test_a_real_commit_of_version_3_is_signed_by_the_key_in_the_document_beside_it(repos):
    # the document is another account's: in 2023 one host signed for all of its accounts with one key
    with open_repo(repos / "greenground.repo.car") as repo:
        verify_signature(repo.commit, document_key(repos, "greenground"))
        with pytest.raises(SignatureError, match="not signed by"):
            verify_signature(repo.commit, document_key(repos, "fakermaker"))


def test_a_real_commit_of_version_2_has_the_higher_s_and_would_be_signed_by_its_account_with_the_lower(repos):
    key = document_key(repos, "fakermaker")
    with open_repo(repos / "fakermaker.repo.car") as repo:
        with pytest.raises(SignatureError, match="higher"):
            verify_signature(repo.commit, key)
        sig = repo.commit.sig
        low_s = ORDER_P256 - int.from_bytes(sig[32:], "big")
        verify_signature(replace(repo.commit, sig=sig[:32] + low_s.to_bytes(32, "big")), key)
