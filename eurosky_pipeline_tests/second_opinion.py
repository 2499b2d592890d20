"""What npm's `@atproto/repo` says of a repository, and repositories that it makes; it is in the sandbox's packages.

It is the code that the reference PDS runs, and shares nothing with ours but the specification. Records cross the
border as the data model's JSON (`to_json`). One call starts Node once (half a second): ask for many files at a time.
"""

import base64
import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.sandbox.node import node_binary

SCRIPT = Path(__file__).with_suffix(".mjs")
TIMEOUT_S = 120.0


class RefusedError(Exception):
    """It does not accept the file, or cannot make it; the text is its own."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A repository as `@atproto/repo` reads it: keys and CIDs as text.

    Attributes:
        keys: (key, record CID), in the order of its walk.
        records: each record as JSON, by key.
        reencoded: the CID that it would give each record itself, by key.
        rebuilt: the root of the tree that it makes of the keys.
        blocks: the CIDs of all blocks in the file; written: of those that it would write into an export.
    """

    root: str
    commit: dict[str, Any]
    keys: list[list[str]]
    records: dict[str, Any]
    reencoded: dict[str, str]
    rebuilt: str
    blocks: list[str]
    written: list[str]


@dataclass(frozen=True, slots=True)
class ToWrite:
    """A repository to be made.

    Attributes:
        car: where its export goes.
        curve: `k256` or `p256`; secret: the signing key's 32 bytes.
        commits: for each, its writes: `{"action": "create" | "update" | "delete", "key", "value": JSON}`.
    """

    car: Path
    curve: str
    secret: bytes
    commits: Sequence[Sequence[Mapping[str, Any]]]

    def as_json(self) -> dict[str, Any]:
        return {"car": str(self.car), "curve": self.curve, "secret": self.secret.hex(), "commits": self.commits}


class SecondOpinion:
    """Asks; `packages` is the folder that holds `node_modules`."""

    def __init__(self, packages: Path) -> None:
        self._packages = packages

    def verify(self, cars: Sequence[Path], *, did: str, did_key: str) -> list[int | RefusedError]:
        """For each file, its number of records, or why it is no whole repository of `did` that `did_key` has signed.

        No record is looked into.
        """
        return self._count("verify", cars, did, did_key)

    def accept(self, cars: Sequence[Path], *, did: str, did_key: str) -> list[int | RefusedError]:
        """As `verify`, and every record is decoded: all the checks that it has."""
        return self._count("accept", cars, did, did_key)

    def read(self, cars: Sequence[Path]) -> list[Reading | RefusedError]:
        """For each file, what is in it, or why it cannot be read."""
        answers = self._ask([{"what": "read", "car": str(car)} for car in cars])
        return [refusal or Reading(**answer) for answer, refusal in answers]

    def write(self, repos: Sequence[ToWrite], *, did: str) -> list[str | RefusedError]:
        """Make repositories of `did`; for each, the `did:key` that it is signed by, or why it cannot be made."""
        answers = self._ask([{"what": "write", "did": did, **repo.as_json()} for repo in repos])
        return [refusal or answer["key"] for answer, refusal in answers]

    def _count(self, what: str, cars: Sequence[Path], did: str, did_key: str) -> list[int | RefusedError]:
        answers = self._ask([{"what": what, "car": str(car), "did": did, "key": did_key} for car in cars])
        return [refusal or answer["records"] for answer, refusal in answers]

    def _ask(self, requests: Sequence[Mapping[str, Any]]) -> list[tuple[dict[str, Any], RefusedError | None]]:
        done = subprocess.run(
            [str(node_binary()), str(SCRIPT), str(self._packages)],
            input=json.dumps(requests),
            env={name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ},
            capture_output=True,
            encoding="utf-8",
            timeout=TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(f"{SCRIPT.name} failed:\n{done.stderr[-2000:]}")
        answers = json.loads(done.stdout)
        assert len(answers) == len(requests)
        return [(answer, RefusedError(answer["refused"]) if "refused" in answer else None) for answer in answers]


def to_json(value: Any) -> Any:
    """A decoded value as the data model's JSON has it. Spec: https://atproto.com/specs/data-model"""
    if isinstance(value, Cid):
        return {"$link": str(value)}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode("ascii").rstrip("=")}
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return value


def save_cars(folder: Path, cars: Iterable[bytes]) -> list[Path]:
    """Write each into a file of its own, and say where."""
    paths = []
    for number, data in enumerate(cars):
        paths.append(folder / f"{number}.car")
        paths[-1].write_bytes(data)
    return paths
