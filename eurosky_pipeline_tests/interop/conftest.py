"""Where the public test vectors are: `EUROSKY_FIXTURES`, or `../shared/fixtures` beside the repository.

They are other projects' data and not part of this repository. Without them these tests are skipped, each with the
reason, and the run's last lines say how many; that is in the project's conftest, since a folder's own is not read where
two processes share the tests. So a test takes its vectors from the fixture while it runs, and is never parametrized by
what stands in a file: one that was not collected could not be counted.
"""

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parents[2].parent / "shared" / "fixtures"


@pytest.fixture(scope="session")
def fixtures() -> Path:
    named = os.environ.get("EUROSKY_FIXTURES")
    folder = Path(named) if named else _DEFAULT
    if not folder.is_dir() or not any(folder.iterdir()):
        sought = (
            f"EUROSKY_FIXTURES names {named}, where nothing is"
            if named
            else "../shared/fixtures is not there (set EUROSKY_FIXTURES)"
        )
        pytest.skip(f"no public test vectors: {sought}")
    return folder
