"""A repository's blocks on their way into a CAR file: kept on disk, brought into the order of a server's export.

The reference PDS sends the blocks of the newest revision first, and those of one revision by their CIDs, from the
highest down: within a revision, that is no order at all. An account that was imported has one revision for all that
came with it.
"""

import os
import random
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import cbor2

from eurosky_pipeline.atproto.car import write_car
from eurosky_pipeline.atproto.cid import CID_BYTES, Cid, cid_of
from eurosky_pipeline.atproto.dag_cbor import LINK_HEAD

_DIGEST_SHIFT, _REV_SHIFT = 32, 96
_NUMBER_MASK = (1 << _DIGEST_SHIFT) - 1
_ENCODERS = {Cid: lambda encoder, cid: encoder.write(LINK_HEAD + cid)}


class BlockSpool:
    """Takes distinct blocks, and writes them at the end; use it by `with`. It holds about 110 bytes a block.

    Args:
        folder: where there is room for all the blocks.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `__exit__`
        self._cids = bytearray()
        self._ends = array("Q", [0])
        self._revs = array("Q")

    def __enter__(self) -> "BlockSpool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._revs)

    def add(self, cid: bytes, data: bytes, rev: int = 0) -> int:
        """Take one block, of a revision that sorts by this number. Returns: the block's own number, from 0 up."""
        self._file.write(data)
        self._cids += cid
        self._ends.append(self._ends[-1] + len(data))
        self._revs.append(rev)
        return len(self._revs) - 1

    def add_value(self, value: Any, rev: int = 0) -> tuple[Cid, int]:
        """Encode a value, and add its block. Returns: its CID and number."""
        # as `dag_cbor.encode`, in a third of the time: there is nothing to check, and few kinds of maps to sort
        data = cbor2.dumps(_sorted(value), encoders=_ENCODERS)
        cid = cid_of(data)
        return cid, self.add(cid, data, rev)

    def cid(self, number: int) -> Cid:
        """The CID of the block with this number."""
        return Cid(self._cids[number * CID_BYTES : (number + 1) * CID_BYTES])

    def write(self, path: Path, root: Cid, *, duplicates: int = 0, seed: int = 1) -> None:
        """Write the CAR file. Of the blocks, `duplicates` stand there once more, somewhere behind the first time."""
        self._file.flush()
        numbers = self._in_order()
        dice = random.Random(seed)
        again = sorted(dice.sample(range(len(numbers)), duplicates), reverse=True)
        with path.open("wb") as target:
            write_car(target, root, self._blocks(numbers, again))

    def _in_order(self) -> Sequence[int]:
        keys = [
            rev << _REV_SHIFT
            | int.from_bytes(self._cids[number * CID_BYTES + 4 : number * CID_BYTES + 12], "big") << _DIGEST_SHIFT
            | number
            for number, rev in enumerate(self._revs)
        ]
        keys.sort(reverse=True)
        return array("I", (key & _NUMBER_MASK for key in keys))

    def _blocks(self, numbers: Sequence[int], again: list[int]) -> Iterator[tuple[bytes, bytes]]:
        for place, number in enumerate(numbers):
            yield self._block(number)
            if again and again[-1] == place:
                again.pop()
                yield self._block(numbers[place // 2])

    def _block(self, number: int) -> tuple[bytes, bytes]:
        start = self._ends[number]
        return self.cid(number), os.pread(self._file.fileno(), self._ends[number + 1] - start, start)


def _sorted(value: Any) -> Any:
    """The value with all maps in canonical order."""
    if type(value) is dict:
        keys = tuple(value)
        order = _ORDERS.get(keys)
        if order is None:
            order = _ORDERS[keys] = sorted(keys, key=lambda key: (len(key.encode()), key.encode()))
        return {key: item if type(item := value[key]) is str else _sorted(item) for key in order}
    if type(value) is list:
        return [_sorted(item) for item in value]
    return value


_ORDERS: dict[tuple[str, ...], list[str]] = {}
