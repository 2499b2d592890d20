"""How the tests share two processes (`make test`), and what a run says at its end. Plain `pytest` runs them as ever.

What shares real servers and accounts stays together, in its order, in one process: the faults' folder, and each file
of the integration tests (a process has one sandbox for all of those that it gets). All that is left goes test by test
to the one that is free, the slow folders first, so that both end at about the same time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

LEFT_OUT = "no public test vectors: "
"""How the reason begins of a test that is skipped for want of them (interop/); where they were sought follows."""

# Folders, the first to begin first. Fuzzers take every processor for a while, once.
_WHOLE, _BY_FILES = ("faults", "fuzz"), ("integration",)
_ORDER = ("faults", "integration", "fuzz", "property", "dagster", "interop")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where there are two processes, an order for all; both do it alike."""
    for item in items:
        if " at 0x" in item.nodeid:  # two processes would not agree on what there is to run
            raise pytest.UsageError(f"{item.nodeid}: an address is no name for a case; give it an id")
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: [*_ORDER, _folder(item.nodeid)].index(_folder(item.nodeid)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Marks would do, but xdist 3.8 cannot read its own with pytest 9."""
    from xdist.scheduler import LoadScopeScheduling

    class TogetherOrOneByOne(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folder = _folder(nodeid)
            if folder in _BY_FILES:
                return nodeid.partition("::")[0]
            return folder if folder in _WHOLE else nodeid

    config.option.loadscopereorder = False  # it would put many quick tests before few slow ones
    return TogetherOrOneByOne(config, log)


def _folder(nodeid: str) -> str:
    """`integration` of `eurosky_pipeline_tests/integration/test_migration.py::…`; the empty word elsewhere."""
    _, *folders = nodeid.partition("::")[0].split("/")[:-1] or [""]
    return folders[0] if folders else ""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say how many tests were left out, below all that pytest has to say of them.

    A skip's reason stands last in its report's (path, line, reason).
    """
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [report.longrepr[-1] for report in skipped if isinstance(report.longrepr, tuple)]
    missing = [reason.partition(LEFT_OUT)[2] for reason in reasons if LEFT_OUT in reason]
    if missing:
        count = len(missing)
        tests = "1 test of public vectors was" if count == 1 else f"{count} tests of public vectors were"
        terminalreporter.write_sep("=", "public test vectors", yellow=True)
        terminalreporter.write_line(f"{tests} left out: {missing[0]}", yellow=True)
