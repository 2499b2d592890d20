"""One reader of repositories, run alone: `python -m benchmarks.readers NAME FILE` prints what it took and found.

Each is used as its own documentation says, and does all the checking that it can be told to do.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.baseline import cut_blocks, hash_blocks, hash_cut_blocks

Work = Callable[[], int]


def hashlib_alone(path: Path) -> Work:
    blocks = cut_blocks(path)
    return lambda: hash_cut_blocks(blocks)


def baseline(path: Path) -> Work:
    return lambda: hash_blocks(path)


def stream(path: Path) -> Work:
    from eurosky_pipeline.atproto.car import CarReader

    def work() -> int:
        with path.open("rb", buffering=0) as file:
            return sum(1 for _ in CarReader(file))

    return work


def inspect(path: Path) -> Work:
    from eurosky_pipeline.atproto.repo import open_repo
    from eurosky_pipeline.atproto.summary import summarize

    def work() -> int:
        with open_repo(path) as repo:
            return summarize(repo).records

    return work


def verify(path: Path) -> Work:
    from eurosky_pipeline.atproto.verify import verify_car

    def work() -> int:
        found = verify_car(path)
        if not found.is_whole:
            raise ValueError(found.problems[0].detail)
        return found.records

    return work


def libipld(path: Path) -> Work:
    import libipld as peer

    return lambda: len(peer.decode_car(path.read_bytes())[1])


def cbrrr(path: Path) -> Work:
    """It knows no CAR: the baseline's splitter, a hash and a strict decode for each block."""
    from cbrrr import decode_dag_cbor

    def work() -> int:
        blocks = cut_blocks(path)
        for block in blocks:
            hashlib.sha256(block).digest()
            decode_dag_cbor(block)
        return len(blocks)

    return work


def atmst(path: Path) -> Work:
    from atmst.blockstore.car_file import ReadOnlyCARBlockStore
    from atmst.mst.node_store import NodeStore
    from atmst.mst.node_walker import NodeWalker
    from cbrrr import decode_dag_cbor

    def work() -> int:
        with path.open("rb") as file:
            blocks = ReadOnlyCARBlockStore(file)
            commit = decode_dag_cbor(blocks.get_block(bytes(blocks.car_root)))
            count = 0
            for _, cid in NodeWalker(NodeStore(blocks), commit["data"]).iter_kv():
                decode_dag_cbor(blocks.get_block(bytes(cid)))
                count += 1
            return count

    return work


READERS = {
    reader.__name__: reader for reader in (hashlib_alone, baseline, stream, inspect, verify, libipld, cbrrr, atmst)
}


def main(name: str, file: str) -> None:
    work = READERS[name](Path(file))
    start = time.process_time()
    found = work()
    print(json.dumps({"cpu_s": time.process_time() - start, "peak_mib": _peak_mib(), "found": found}))


def _peak_mib() -> float:
    """The largest resident set of this process alone: `getrusage` counts the one that it was forked from too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
