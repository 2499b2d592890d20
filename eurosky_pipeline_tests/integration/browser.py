"""A real browser on the Dagster UI: Debian's Chromium, headless, driven by Playwright."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

CHROMIUM = os.environ.get("EUROSKY_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
_PATIENCE_MS = 90_000  # a busy machine's webserver takes its time, and a page is many questions to it


@dataclass(frozen=True)
class Browser:
    """One window on the UI at `url`; `shots` is where its pictures go."""

    page: Page
    url: str
    shots: Path

    def open(self, path: str) -> None:
        self.page.goto(f"{self.url}{path}")

    def see(self, *texts: str) -> None:
        """Wait until a person would see each of these; a test's failure where one does not come."""
        for text in texts:
            self.page.get_by_text(text).filter(visible=True).first.wait_for()

    def rows(self, *header: str) -> list[list[str]]:
        """The rows of the table with just these columns; one table holds all others, so it is the innermost."""
        heads = self.page.locator("thead").filter(has_text=re.compile(f"^{''.join(header)}$"))
        body = heads.last.locator("xpath=../tbody")
        return [row.locator("td").all_inner_texts() for row in body.locator("tr").all()]

    def shoot(self, name: str) -> Path:
        """Keep what is to be seen now as a picture."""
        path = self.shots / f"{name}.png"
        self.page.screenshot(path=path)
        return path


def require_browser() -> None:
    """Without a browser on this machine the test is skipped, and says so."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: `apt-get install chromium`, or name one with EUROSKY_CHROMIUM")


@contextmanager
def browsing(url: str, shots: Path) -> Iterator[Browser]:
    """A window of 1680 × 1000 on the UI, until the block ends."""
    shots.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        # its sandbox needs rights that a container does not give, and it sees no page but our own
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1680, "height": 1000}, timezone_id="UTC")
        page.set_default_timeout(_PATIENCE_MS)
        try:
            yield Browser(page, url, shots)
        finally:
            chromium.close()
