"""How many damaged repositories each reader takes for whole ones: the other side of its speed.

The damages are those of the tests, a hundred files with one thing wrong in each. Those of signatures are left out:
not every reader is made to know a key.
"""

from collections.abc import Callable
from pathlib import Path

from benchmarks.readers import READERS
from eurosky_pipeline_tests.builders import DID
from eurosky_pipeline_tests.damage import DAMAGES, KEY
from eurosky_pipeline_tests.second_opinion import RefusedError, SecondOpinion, save_cars

_OF_SIGNATURES = "sign"


def count_accepted(folder: Path, packages: Path) -> tuple[dict[str, int], int]:
    """The number of files that each reader accepts, by its name, and the number of files."""
    files = save_cars(folder, [data for name, data in DAMAGES.items() if _OF_SIGNATURES not in name])
    accepted = {
        name: sum(_is_accepted(READERS[name], file) for file in files)
        for name in ("verify", "inspect", "libipld", "cbrrr", "atmst")
    }
    verdicts = SecondOpinion(packages).accept(files, did=DID, did_key=KEY.public_key.did_key)
    accepted["atproto_repo"] = sum(not isinstance(verdict, RefusedError) for verdict in verdicts)
    return accepted, len(files)


def _is_accepted(reader: Callable[[Path], Callable[[], int]], file: Path) -> bool:
    try:
        reader(file)()
    except Exception:  # each has errors of its own kinds
        return False
    return True
