"""Dagster's instance folder: made with the project's `dagster.yaml` where it is missing."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

INSTANCE_FILE = Path(__file__).with_name("dagster.yaml")
WORKSPACE_FILE = Path(__file__).with_name("workspace.yaml")


def prepare_instance(settings: Settings) -> Path:
    """Make the folder if need be, and name it to this process and its children as `DAGSTER_HOME`.

    An existing `dagster.yaml` is the operator's and stays as it is.

    Raises: SettingsError if the folder cannot be made.
    """
    folder = settings.resolved_dagster_home
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (folder / "dagster.yaml").exists():
            shutil.copyfile(INSTANCE_FILE, folder / "dagster.yaml")
    except OSError as error:
        raise SettingsError(
            f"the Dagster folder {folder} cannot be made: {error.strerror}", hint="set DAGSTER_HOME or EUROSKY_HOME"
        ) from None
    os.environ["DAGSTER_HOME"] = str(folder)
    os.environ["EUROSKY_HOME"] = str(settings.home)
    return folder


def open_instance() -> "DagsterInstance":
    """The instance of `DAGSTER_HOME`; of two processes that come first at once, one makes its databases."""
    from dagster import DagsterInstance
    from filelock import FileLock

    with FileLock(Path(os.environ["DAGSTER_HOME"]) / ".opening.lock"):
        return DagsterInstance.get()
