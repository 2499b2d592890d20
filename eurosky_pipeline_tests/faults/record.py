"""What a proxy remembers: every request, and what became of it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, replace

from eurosky_pipeline_tests.faults.rules import Fault

GET_BLOB = "com.atproto.sync.getBlob"
UPLOAD_BLOB = "com.atproto.repo.uploadBlob"
_TRUTHFUL = {Fault.NONE, Fault.LATENCY, Fault.DRIP}


@dataclass(frozen=True, slots=True)
class Passed:
    """One request, and what became of it.

    Attributes:
        blob_cid: of a blob that was asked for, or that was sent whole.
        status: the server's own; None where it was not asked.
        bytes_up, bytes_down: of the bodies, as the client sent and got them.
        is_answered: the whole answer was handed over.
        ended_s: by `time.monotonic`.
    """

    method: str
    nsid: str
    fault: Fault
    blob_cid: str | None = None
    status: int | None = None
    bytes_up: int = 0
    bytes_down: int = 0
    is_answered: bool = False
    ended_s: float = 0.0


class Record:
    """All of them, in the order in which they ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._passed: list[Passed] = []

    def add(self, passed: Passed) -> None:
        with self._lock:
            self._passed.append(replace(passed, ended_s=time.monotonic()))

    def passed(self, nsid: str | None = None) -> list[Passed]:
        with self._lock:
            return [passed for passed in self._passed if nsid in (None, passed.nsid)]

    def stored(self) -> Counter[str]:
        """How often the server behind took each blob."""
        return Counter(p.blob_cid for p in self.passed(UPLOAD_BLOB) if p.status == 200 and p.blob_cid)

    def confirmed(self) -> Counter[str]:
        """How often the client was told, and truly, that the server has taken a blob."""
        return Counter(
            p.blob_cid
            for p in self.passed(UPLOAD_BLOB)
            if p.status == 200 and p.blob_cid and p.is_answered and p.fault in _TRUTHFUL
        )

    def hits(self) -> int:
        """How many requests a fault has befallen."""
        return sum(passed.fault is not Fault.NONE for passed in self.passed())
