"""DAG-CBOR, by hyphacoop/dasl-testing (MIT): 105 cases, some of which contradict each other by design.

Each case is tagged with the profiles of CBOR that it holds for. Every one is run; where the AT Protocol's data model
asks for another answer than the case does, it stands in `DIFFERENCES` with the reason.
"""

import json
from pathlib import Path

import cbor2

from eurosky_pipeline.atproto.dag_cbor import CborError, decode, encode

FLOAT = "the AT Protocol has no floats, of no width"
BIGNUM = "a profile that has big integers (CBOR-Core); DAG-CBOR does not"
DIFFERENCES = {
    ("roundtrip", "float reduction"): FLOAT,
    ("roundtrip", "64-bit floats only"): FLOAT,
    ("roundtrip", "short NaN"): FLOAT,
    ("roundtrip", "zero float64"): FLOAT,
    ("roundtrip", "zero float16"): FLOAT,
    ("roundtrip", "64-bit subnormal number"): FLOAT,
    ("roundtrip", "too small for int reduction, <-(2^63)"): FLOAT,
    ("roundtrip", "map with equal int and float keys"): "map keys are strings",
    ("roundtrip", "smallest unsigned bigint"): BIGNUM,
    ("roundtrip", "highest negative bigint"): BIGNUM,
    ("roundtrip", "Big DASL CID"): "the AT Protocol's CIDs are SHA-256 only, not BLAKE3",
    ("invalid_in", "text not in Unicode Normalization Form C"): "only dCBOR normalizes; a text stays as it is",
}


def cases(fixtures: Path) -> list[dict]:
    files = sorted((fixtures / "dasl-testing" / "fixtures" / "cbor").glob("*.json"))
    return [case for file in files for case in json.loads(file.read_text(encoding="utf-8"))]


def answers_as_asked(case: dict) -> bool:
    data = bytes.fromhex(case["data"])
    try:
        if case["type"] == "roundtrip":
            return encode(decode(data)) == data
        if case["type"] == "invalid_in":
            decode(data)
        else:
            encode(cbor2.loads(data))
    except CborError:
        return case["type"] != "roundtrip"
    return False


def test_all_cases_are_there(fixtures):
    found = cases(fixtures)
    assert len(found) == 105
    assert {case["type"] for case in found} == {"roundtrip", "invalid_in", "invalid_out"}


def test_each_case_is_answered_as_asked_or_differs_for_a_stated_reason(fixtures):
    wrong = {(case["type"], case["name"]) for case in cases(fixtures) if not answers_as_asked(case)}
    assert wrong == set(DIFFERENCES)
