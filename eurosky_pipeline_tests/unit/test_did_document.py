"""What is read in a DID document, and what counts as not being there."""

from __future__ import annotations

import pytest

from eurosky_pipeline.identity.document import DocumentKey, read_document

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
OTHER = "did:plc:z72i7hdynmk6r22z27h6tvur"
K256 = "zQ3shXjHeiBuRCKmM36cuYnm7YEMzhGnCmCyW92sRJ9pribSF"
P256 = "zDnaeTiq1PdzvZXUaMdezchcMJQpBdH2VN4pgrrEhMCCbmwSb"
K256_OF_2019 = "zQYEBzXeuTM9UR3rfvNag6L3RNAs5pQZyYPsomTsgQhsxLdEgCrPTLgFna8yqCnxPpNT7DBk6Ym3dgPKNu86vt9GR"


def pds(endpoint: object, identifier: object = "#atproto_pds", kind: object = "AtprotoPersonalDataServer") -> object:
    return {"id": identifier, "type": kind, "serviceEndpoint": endpoint}


def key(
    text: object = K256, identifier: object = f"{DID}#atproto", kind: object = "Multikey", controller: object = DID
) -> object:
    return {"id": identifier, "type": kind, "controller": controller, "publicKeyMultibase": text}


@pytest.mark.parametrize(
    ("services", "pds_url"),
    [
        ([pds("https://pds.example/")], "https://pds.example"),
        ([pds("https://PDS.Example:443")], "https://pds.example"),
        ([pds("http://localhost:2583")], "http://localhost:2583"),
        ([pds("https://pds.example", f"{DID}#atproto_pds")], "https://pds.example"),
        ([pds("https://l.example", "#atproto_labeler"), pds("https://p.example")], "https://p.example"),
        ([pds("https://l.example", kind="AtprotoLabeler"), pds("https://p.example")], "https://p.example"),
        ([7, None, "x", {}, [], pds("https://pds.example")], "https://pds.example"),
        ([pds("https://first.example"), pds("https://second.example")], "https://first.example"),
        ([pds("https://first.example/path"), pds("https://second.example")], None),
        ([pds("https://pds.example", f"{OTHER}#atproto_pds")], None),
        ([pds("https://pds.example", "#atproto_pds_old")], None),
        ([pds("https://pds.example", "x#atproto_pds")], None),
        ([pds("https://pds.example", "atproto_pds")], None),
        ([pds("https://pds.example", None)], None),
        ([pds("https://pds.example", ["#atproto_pds"])], None),
        ([pds("https://pds.example", kind=None)], None),
        ([pds("https://pds.example", kind=["AtprotoPersonalDataServer"])], None),
        ([pds({"uri": "https://pds.example"})], None),
        ([pds(["https://pds.example"])], None),
        ([pds(None)], None),
        ([pds("https://pds.example/xrpc")], None),
        ([pds("https://pds.example?x=1")], None),
        ([pds("https://pds.example#x")], None),
        ([pds("https://user:password@pds.example")], None),
        ([pds("https://pds.example:99999")], None),
        ([pds("ftp://pds.example")], None),
        ([pds("pds.example")], None),
        ([pds("https://")], None),
        ([pds("https://pds.exam\nple")], None),
        ([pds("https://pds.example\x1b[31m")], None),
        ([pds("https://" + "a" * 300 + ".example")], None),
        ([], None),
        (None, None),
        (pds("https://pds.example"), None),
        ("#atproto_pds", None),
    ],
)
def test_the_first_server_counts_if_it_is_a_servers_address_and_nothing_more(
    services: object, pds_url: str | None
) -> None:
    assert read_document(DID, {"service": services}).pds_url == pds_url


@pytest.mark.parametrize(
    ("names", "handle"),
    [
        (["at://alice.example", "at://second.example"], "alice.example"),
        (["at://Alice.EXAMPLE"], "alice.example"),
        (["https://alice.example", "at://alice.example"], "alice.example"),
        ([7, None, {"at://": 1}, ["at://x.example"], "at://alice.example"], "alice.example"),
        (["at://alice.example/app.bsky.feed.post/1", "at://alice.example"], "alice.example"),
        ([f"at://{DID}", "at://", "at://single", "at://alice.example"], "alice.example"),
        (["at://al ice.example", "at://alice.example\n", "at://a.9", "at://b.example"], "b.example"),
        (["at://" + "a." * 130 + "example", "at://b.example"], "b.example"),
        (["AT://alice.example"], None),
        (["alice.example"], None),
        (["https://alice.example"], None),
        ([], None),
        (None, None),
        ("at://alice.example", None),
        ({"at://alice.example": 1}, None),
    ],
)
def test_the_handle_is_the_first_name_that_is_one(names: object, handle: str | None) -> None:
    assert read_document(DID, {"alsoKnownAs": names}).handle == handle


@pytest.mark.parametrize(
    ("methods", "found"),
    [
        ([key()], DocumentKey("Multikey", K256)),
        ([key(P256)], DocumentKey("Multikey", P256)),
        ([key(identifier="#atproto")], DocumentKey("Multikey", K256)),
        (
            [key(K256_OF_2019, "#atproto", "EcdsaSecp256k1VerificationKey2019")],
            DocumentKey("EcdsaSecp256k1VerificationKey2019", K256_OF_2019),
        ),
        ([key(P256, f"{DID}#atproto_label"), key()], DocumentKey("Multikey", K256)),
        ([key(P256), key(K256)], DocumentKey("Multikey", P256)),
        ([key(kind="JsonWebKey2020"), key(text="u" + K256), key(None), key(P256)], DocumentKey("Multikey", P256)),
        ([key(controller=OTHER)], None),
        ([key(controller=None)], None),
        ([key(identifier=f"{OTHER}#atproto")], None),
        ([key(kind=["Multikey"])], None),
        ([key(text="z" + "0" * 48)], None),
        ([key(text="z")], None),
        ([key(text="z" + "1" * 5000)], None),
        ([key(text=K256 + "\n")], None),
        (key(), None),
        (None, None),
    ],
)
def test_the_signing_key_is_the_first_of_a_known_type_under_the_accounts_own_control(
    methods: object, found: DocumentKey | None
) -> None:
    assert read_document(DID, {"verificationMethod": methods}).signing_key == found
