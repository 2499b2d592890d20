"""What reading a CAR costs at the least: hashlib over the same blocks, and no code of this project.

Nothing is checked here: a truncated file, a wrong hash and a padded varint all pass. The splitting is written out
twice, since a call for each block would make the baseline slower, and everything beside it look faster.

`python -m benchmarks.baseline FILE` runs it as a whole process.
"""

import hashlib
import sys
from pathlib import Path


def hash_blocks(path: Path) -> int:
    """Split the file by its lengths and hash each block. Returns: how many there are."""
    sha256 = hashlib.sha256
    data = path.read_bytes()
    count, size, position = 0, len(data), 1 + data[0]
    while position < size:
        length = shift = 0
        while True:
            byte = data[position]
            position += 1
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        sha256(data[position + 36 : position + length]).digest()
        position += length
        count += 1
    return count


def hash_cut_blocks(blocks: list[bytes]) -> int:
    """Hash blocks that somebody else has cut out of the file before: the bare cost of SHA-256."""
    sha256 = hashlib.sha256
    for block in blocks:
        sha256(block).digest()
    return len(blocks)


def cut_blocks(path: Path) -> list[bytes]:
    """Every block's data, in memory."""
    data = path.read_bytes()
    blocks, position = [], 1 + data[0]
    while position < len(data):
        length = shift = 0
        while True:
            byte = data[position]
            position += 1
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        blocks.append(data[position + 36 : position + length])
        position += length
    return blocks


if __name__ == "__main__":
    print(hash_blocks(Path(sys.argv[1])))
