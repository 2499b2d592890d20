"""What a person sees of a finished migration in the Dagster UI, in a real browser. The pictures are kept.

They are what the README shows: `EUROSKY_SCREENSHOTS=docs/images` makes those anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from eurosky_pipeline.orchestration.assets import ALL_ASSETS
from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.sandbox.seed import SeededAccount, seed
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.integration.browser import Browser, browsing, require_browser
from eurosky_pipeline_tests.integration.command import eurosky
from eurosky_pipeline_tests.integration.dagster_server import running_up
from eurosky_pipeline_tests.pipeline import register

SHOTS = Path(os.environ.get("EUROSKY_SCREENSHOTS") or Path(__file__).parents[2] / ".screenshots")
RECORDS, BLOBS, LEGACY, DAMAGED = 60, 20, 2, 4
ALL_BLOBS = BLOBS + LEGACY
ARRIVED = ALL_BLOBS - DAMAGED
ASSETS = [asset.key.to_user_string() for asset in ALL_ASSETS]
GREEN = "[style*=color-accent-green]"


@dataclass(frozen=True)
class Shown:
    """An account that has been moved but for some blobs, and a window on the UI."""

    account: SeededAccount
    token: str
    browser: Browser

    def open_partition(self, asset: str) -> None:
        self.browser.open(f"/assets/{asset}?view=partitions&partition={self.token}")
        self.browser.see(self.token, "Materialized", "summary")


@pytest.fixture(scope="module")
def shown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    require_browser()
    sandbox = request.getfixturevalue("sandbox")
    counts = {"records": RECORDS, "blobs": BLOBS, "legacy": LEGACY, "damaged_blobs": DAMAGED}
    account = seed(sandbox.state, **counts, blob_bytes=20_000, report=print)
    home = tmp_path_factory.mktemp("shown")
    registry = open_registry(Settings(_env_file=None, EUROSKY_HOME=home))
    token = register(registry, account).token
    registry.close()
    variables = {
        "EUROSKY_PLC_URL": account.plc_url,
        "EUROSKY_ALLOW_PRIVATE_HOSTS": "true",
        "CONVERT_LEGACY_BLOBS": "true",
        "MAX_BLOB_RETRIES": "0",
    }
    moved = eurosky("migrate", token, home=home, **variables)
    assert moved.exit_code == 3, moved.stderr
    with running_up(home, **variables) as server, browsing(f"http://127.0.0.1:{server.port}", SHOTS) as browser:
        yield Shown(account, token, browser)


def test_the_graph_has_the_six_assets_all_of_them_green(shown: Shown) -> None:
    shown.browser.open("/asset-groups")
    shown.browser.see(*ASSETS)
    page = shown.browser.page
    nodes = page.locator("foreignObject")
    nodes.filter(has=page.locator(GREEN)).nth(len(ASSETS) - 1).wait_for()
    assert nodes.count() == len(ASSETS)
    shown.browser.shoot("asset-graph")


def test_the_partition_says_what_was_converted_in_a_banner_and_a_table(shown: Shown) -> None:
    shown.open_partition("converted_car")
    shown.browser.see("Converted", f"{LEGACY} of {LEGACY} legacy blob references")
    ((name, *_),) = shown.browser.rows("transform", "version", "counts")
    assert name == "legacy_blobs"
    shown.browser.shoot("converted-car")


def test_the_partition_says_which_blobs_failed_and_why(shown: Shown) -> None:
    page = shown.browser.page
    shown.browser.open("/")
    for text in ("Catalog", "transferred_blobs", "Partitions", shown.token):  # as the README has it
        page.get_by_text(text, exact=True).filter(visible=True).first.click()
    shown.browser.see("Materialized", "summary")
    shown.browser.see(f"{ARRIVED} of {ALL_BLOBS} blobs", f"{DAMAGED} did not arrive")
    rows = shown.browser.rows("outcome", "blob", "reason")
    assert {blob for _, blob, _ in rows} == {str(blob.blob_cid) for blob in shown.account.damaged}
    assert {outcome for outcome, *_ in rows} == {"missing_at_source", "corrupt_at_source"}
    assert all("Blob not found" in reason or "do not hash" in reason for *_, reason in rows)
    counted = {outcome: int(count) for outcome, count, _ in shown.browser.rows("outcome", "blobs", "for example")}
    assert counted == {"transferred": ARRIVED, "missing_at_source": DAMAGED - 1, "corrupt_at_source": 1}
    shown.browser.shoot("failed-blobs")


def test_the_checks_say_numbers_of_this_very_migration(shown: Shown) -> None:
    shown.browser.open("/assets/reconciliation_report?view=checks")
    shown.browser.see("every_blob_arrived", "records_are_equal", "sizes_are_as_referenced")
    shown.browser.see(f"{ARRIVED} of {ALL_BLOBS} blobs matched", shown.token)
    shown.browser.shoot("checks")


def test_the_runs_page_names_the_migration_and_its_end(shown: Shown) -> None:
    shown.browser.open("/runs")
    shown.browser.see("migrate_account", shown.token, "Success")
