"""Where the public test vectors are: `EUROSKY_FIXTURES`, or `../shared/fixtures` beside the repository.

They are other projects' data and not part of this repository. Without them these tests are skipped, each with the
reason, and the run's last lines say how many. So a test takes its vectors from the fixture while it runs, and is never
parametrized by what stands in a file: one that was not collected could not be counted.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parents[2].parent / "shared" / "fixtures"
_LEFT_OUT = "no public test vectors"


def _place() -> tuple[Path, str]:
    """The folder, and what to say if nothing is in it."""
    named = os.environ.get("EUROSKY_FIXTURES")
    if named:
        return Path(named), f"EUROSKY_FIXTURES names {named}, where nothing is"
    return _DEFAULT, "../shared/fixtures is not there (set EUROSKY_FIXTURES)"


@pytest.fixture(scope="session")
def fixtures() -> Path:
    folder, missing = _place()
    if not folder.is_dir() or not any(folder.iterdir()):
        pytest.skip(f"{_LEFT_OUT}: {missing}")
    return folder


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say how many tests were left out, below all that pytest has to say of them.

    A skip's reason stands last in its report's (path, line, reason).
    """
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum(isinstance(report.longrepr, tuple) and _LEFT_OUT in report.longrepr[-1] for report in skipped)
    if count:
        tests = "1 test of public vectors was" if count == 1 else f"{count} tests of public vectors were"
        terminalreporter.write_sep("=", "public test vectors", yellow=True)
        terminalreporter.write_line(f"{tests} left out: {_place()[1]}", yellow=True)
