"""Blobs spoilt at the source on purpose, so that a migration meets what real servers have lost.

A server that has lost a blob's file still lists the blob, and so does one whose moderators took it down: it keeps the
file apart, and says "Blob not found" as if it had none. One whose disk has rotted sends other bytes under the old CID.
"""

from __future__ import annotations

import base64
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.registry.ledger import Outcome
from eurosky_pipeline.sandbox.servers import blob_folder
from eurosky_pipeline.sandbox.state import SandboxState
from eurosky_pipeline.xrpc.client import XrpcClient, new_http_client
from eurosky_pipeline.xrpc.endpoints import UploadedBlob
from eurosky_pipeline.xrpc.host_policy import HostPolicy

UPDATE_SUBJECT_STATUS = "com.atproto.admin.updateSubjectStatus"


class Damage(StrEnum):
    """What is done to a blob at the source, and the outcome that its transfer has then.

    LOST        its file is deleted                     missing_at_source
    CORRUPT     the last byte of its file is changed    corrupt_at_source, after four downloads
    TAKEN_DOWN  its server's admin takes it down        missing_at_source: the reference PDS does not say why
    """

    LOST = "lost"
    CORRUPT = "corrupt"
    TAKEN_DOWN = "taken_down"

    @property
    def outcome(self) -> Outcome:
        return Outcome.CORRUPT_AT_SOURCE if self is Damage.CORRUPT else Outcome.MISSING_AT_SOURCE


@dataclass(frozen=True, slots=True)
class DamagedBlob:
    """One spoilt blob, and what it was before."""

    blob_cid: Cid
    damage: Damage
    mime_type: str
    size_bytes: int


def plan_damage(blobs: Sequence[UploadedBlob], count: int, seed_name: str) -> tuple[DamagedBlob, ...]:
    """`count` of the blobs, the three kinds of damage in turn, and as many types of file as there are.

    The same blobs and the same name give the same choice. `count` is at most their number.
    """
    chance = random.Random(f"{seed_name}/damage")  # noqa: S311 - no secret
    shuffled = chance.sample(list(blobs), len(blobs))
    of_type: Counter[str] = Counter()
    turns: list[tuple[int, UploadedBlob]] = []
    for blob in shuffled:
        turns.append((of_type[blob.mime_type], blob))
        of_type[blob.mime_type] += 1
    turns.sort(key=lambda turn: turn[0])
    kinds = list(Damage)
    return tuple(
        DamagedBlob(blob.blob_cid, kinds[index % len(kinds)], blob.mime_type, blob.size_bytes)
        for index, (_, blob) in enumerate(turns[:count])
    )


def damage_blobs(
    state: SandboxState, did: str, damaged: Sequence[DamagedBlob], report: Callable[[str], None] = lambda _: None
) -> None:
    """Spoil these blobs of an account on the sandbox's source, which goes on running.

    Raises: OSError: a blob's file is not there. The errors of `xrpc.errors`: the source refuses to take one down.
    """
    if not damaged:
        return
    counts = Counter(blob.damage for blob in damaged)
    what = ", ".join(f"{count} {damage.replace('_', ' ')}" for damage, count in counts.items())
    report(f"damaging {len(damaged)} of its blobs on the source: {what}")
    outcomes = Counter(blob.damage.outcome for blob in damaged).most_common()
    why = "; the source says the same of one taken down as of a lost one" if Damage.TAKEN_DOWN in counts else ""
    report(f"their outcomes will be {', '.join(f'{count} {outcome}' for outcome, count in outcomes)}{why}")
    for blob in damaged:
        path = blob_path(state, did, blob.blob_cid)
        if blob.damage is Damage.LOST:
            path.unlink()
        elif blob.damage is Damage.CORRUPT:
            _change_last_byte(path)
        else:
            _take_down(state, did, blob.blob_cid)


def blob_path(state: SandboxState, did: str, blob_cid: Cid) -> Path:
    """Where the source keeps the bytes of a blob that a record names."""
    return blob_folder(state, state.source) / did / str(blob_cid)


def _change_last_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 0xFF]))


def _take_down(state: SandboxState, did: str, blob_cid: Cid) -> None:
    admin = base64.b64encode(f"admin:{state.source_secrets.admin_password}".encode()).decode()
    policy = HostPolicy(allowed_addresses=frozenset({("localhost", state.source.port)}))
    subject = {"$type": "com.atproto.admin.defs#repoBlobRef", "did": did, "cid": str(blob_cid)}
    with new_http_client(1, policy, {"Authorization": f"Basic {admin}"}) as http:
        client = XrpcClient(http, state.source.url)
        client.procedure(UPDATE_SUBJECT_STATUS, {"subject": subject, "takedown": {"applied": True}})
