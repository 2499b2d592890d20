"""Where the public test vectors are: `EUROSKY_FIXTURES`, or `../shared/fixtures` beside the repository.

They are other projects' data and not part of this repository; without them these tests are skipped, and say so.
"""

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parents[2].parent / "shared" / "fixtures"


@pytest.fixture(scope="session")
def fixtures() -> Path:
    folder = Path(os.environ.get("EUROSKY_FIXTURES") or _DEFAULT)
    if not folder.is_dir():
        pytest.skip("no public test vectors: EUROSKY_FIXTURES names no folder, and ../shared/fixtures is not there")
    return folder
