"""Run a command and say what it took: `python -I -S launch.py COMMAND ARGUMENT…` prints one JSON object.

A process of its own because the kernel's record of the largest resident set begins with that of whoever forked: a
small launcher hides nothing. It imports nothing of this project, and no more than it needs.
"""

import json
import os
import sys
import time


def main() -> None:
    reading, writing = os.pipe()
    start = time.monotonic()
    process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)])
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        output = stream.read()
    _, status, usage = os.wait4(process, 0)
    taken = {
        "exit_code": os.waitstatus_to_exitcode(status),
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": time.monotonic() - start,
        "peak_bytes": usage.ru_maxrss * 1024,
        "output": output.decode(),
    }
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
