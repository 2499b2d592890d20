"""The data model in CBOR, by bluesky-social/atproto-interop-tests (CC0).

The vectors are JSON. Reading that JSON (`$link`, `$bytes`, `$type` of the right kind) is no part of the protocol core,
so of the invalid ones only those count here whose value, once it is a value, the core must refuse.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from eurosky_pipeline.atproto.blob_refs import find_blob_refs
from eurosky_pipeline.atproto.cid import cid_of, parse_cid
from eurosky_pipeline.atproto.dag_cbor import CborError, decode, encode
from eurosky_pipeline.atproto.repo import RepoError, open_repo
from eurosky_pipeline_tests.builders import make_repo_car

JSON_ONLY = "a fault of the JSON form, which has no counterpart in CBOR"
LEXICON = "a rule for records by their type, and not of the encoding"
NOT_OURS = {
    "record with $type null": LEXICON,
    "record with $type wrong type": LEXICON,
    "record with empty $type string": LEXICON,
    "bytes with wrong field type": JSON_ONLY,
    "bytes with extra fields": JSON_ONLY,
    "link with wrong field type": JSON_ONLY,
    "link with bogus CID": JSON_ONLY,
    "link with extra fields": JSON_ONLY,
}


def vectors(fixtures: Path, name: str) -> list[dict]:
    return json.loads((fixtures / "atproto-interop-tests" / "data-model" / f"{name}.json").read_text(encoding="utf-8"))


def from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if isinstance(value, dict) and value.keys() == {"$link"}:
        return parse_cid(value["$link"])
    if isinstance(value, dict) and value.keys() == {"$bytes"}:
        return base64.b64decode(value["$bytes"] + "==")
    if isinstance(value, dict):
        return {key: from_json(item) for key, item in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def test_every_file_about_the_data_model_is_used(fixtures):
    files = {path.stem for path in (fixtures / "atproto-interop-tests" / "data-model").iterdir()}
    assert files == {"data-model-fixtures", "data-model-valid", "data-model-invalid"}


def test_values_have_their_known_encoding_and_cid(fixtures):
    found = vectors(fixtures, "data-model-fixtures")
    assert len(found) == 3
    for case in found:
        data = base64.b64decode(case["cbor_base64"] + "==")
        assert decode(data) == from_json(case["json"])
        assert encode(from_json(case["json"])) == data
        assert str(cid_of(data)) == case["cid"]


def test_valid_values_survive_their_encoding(fixtures):
    found = vectors(fixtures, "data-model-valid")
    assert len(found) == 5
    for case in found:
        value = from_json(case["json"])
        assert decode(encode(value)) == value, case["note"]


def test_invalid_values_are_refused_where_they_are_the_cores_to_refuse(fixtures, tmp_path):
    found = {case["note"]: case["json"] for case in vectors(fixtures, "data-model-invalid")}
    ours = found.keys() - NOT_OURS.keys()
    assert ours == {"top-level not an object", "float", "blob with string size", "blob with missing key"}

    car = tmp_path / "repo.car"
    car.write_bytes(make_repo_car({"com.example.record/self": from_json(found["top-level not an object"])}))
    with open_repo(car) as repo, pytest.raises(RepoError, match="not a map"):
        list(repo.records())
    with pytest.raises(CborError, match="float"):
        encode(from_json(found["float"]))
    assert [ref.size_bytes for ref in find_blob_refs(from_json(found["blob with string size"]))] == [None]
    assert list(find_blob_refs(from_json(found["blob with missing key"]))) == []
