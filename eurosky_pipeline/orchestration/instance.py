"""Dagster's instance folder: made with the project's `dagster.yaml` where it is missing."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.registry.patience import said
from eurosky_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

INSTANCE_FILE = Path(__file__).with_name("dagster.yaml")
WORKSPACE_FILE = Path(__file__).with_name("workspace.yaml")
FORMER_INSTANCE_FILES = frozenset(
    {
        "1971cdcce80989cf200bbb35e9e2bf9ebaf095fd5e52ddf9ac7badcdd005ec08",
        "661edbd69d93e6dd23bafc7ead17abe7d1f134dfe1b919c5ead0cbcfd905f038",
        "65e9ed3a95402c0d8ba760e3ecc424d07d38ebfbf06793b800609371c031a9c2",
        "7b5969e429773acb71b175daf98c401f812657abbdc53b63d411caa785dfe356",
        "e5c9fcafbc18fb989bd5426b6d4d760433e18c585c2ecbfca9a8f0e289e01ed5",
    }
)
"""SHA-256 of each `dagster.yaml` that the project has put there before: where one still stands, nobody has changed it.
The text that is there now joins them when it changes."""


def prepare_instance(settings: Settings) -> Path:
    """Make the folder if need be, and name it to this process and its children as `DAGSTER_HOME`.

    An existing `dagster.yaml` that a person has changed is theirs and stays as it is; one of our own, from an earlier
    version, is brought up to date.

    Raises: SettingsError if the folder cannot be made.
    """
    folder = settings.resolved_dagster_home
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if _is_ours_to_write(folder / "dagster.yaml"):
            partial = folder / f".dagster.yaml.{os.getpid()}.partial"
            shutil.copyfile(INSTANCE_FILE, partial)
            partial.replace(folder / "dagster.yaml")
    except OSError as error:
        raise SettingsError(
            f"the Dagster folder {folder} cannot be made: {error.strerror}", hint="set DAGSTER_HOME or EUROSKY_HOME"
        ) from None
    os.environ["DAGSTER_HOME"] = str(folder)
    os.environ["EUROSKY_HOME"] = str(settings.home)
    return folder


def open_instance() -> "DagsterInstance":
    """The instance of `DAGSTER_HOME`; of two processes that come first at once, one makes its databases.

    Raises: SettingsError if the database that it is kept in cannot be opened.
    """
    from dagster import DagsterInstance
    from filelock import FileLock
    from sqlalchemy.exc import DatabaseError

    try:
        with FileLock(Path(os.environ["DAGSTER_HOME"]) / ".opening.lock"):
            return DagsterInstance.get()
    except DatabaseError as error:
        raise SettingsError(
            f"Dagster's database cannot be opened: {said(error)}",
            code="database_unavailable",
            hint="check EUROSKY_DATABASE_URL and the server; without one, the folder of DAGSTER_HOME",
        ) from None


def _is_ours_to_write(path: Path) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() in FORMER_INSTANCE_FILES
    except FileNotFoundError:
        return True
