"""Accounts to be moved, from the file that the old server's admin tool exports: a JSON list of objects.

The file stays as it is. What became of each account is written beside it, a line of JSON each, and what has a line
there is not offered again: delete the line of one that was rejected, once it is mended.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.plugins.hooks import hookimpl
from eurosky_pipeline.plugins.intake_sources import Account, IntakeContext, IntakeSource, Registered, Reply

VARIABLE = "ADMIN_EXPORT"
FIELDS = {"did": "did", "handle": "handle", "host": "source_pds", "moves_to": "destination_pds"}
MAX_BYTES = 64 * 1024 * 1024


class AdminExport(IntakeSource):
    name = "admin_export"
    version = "1"

    def poll(self, context: IntakeContext) -> Iterator[Account | Registered]:
        path = _path()
        if not path.exists():
            return
        answered = {line["did"] for line in _lines(_answers(path))}
        for number, user in enumerate(_users(path), start=1):
            if user.get("did") not in answered:
                fields = {ours: str(user[theirs]) for theirs, ours in FIELDS.items() if theirs in user}
                password = str(user.get("new_password", ""))
                yield Account({**fields, "destination_password": password}, origin=f"{path.name}, user {number}")

    def answered(self, offer: Account | Registered, reply: Reply, token: str | None, reason: str) -> None:
        if isinstance(offer, Account):
            line = {"did": offer.fields.get("did"), "reply": str(reply), "token": token, "reason": reason}
            with _answers(_path()).open("a") as file:
                file.write(json.dumps(line) + "\n")


@hookimpl
def eurosky_intake_sources() -> list[type[IntakeSource]]:
    return [AdminExport]


def _path() -> Path:
    if not os.environ.get(VARIABLE):  # read when it is needed: to import a plugin must not fail for want of a setting
        raise SettingsError(f"{VARIABLE} is not set", hint="set it to the file that the admin tool exports")
    return Path(os.environ[VARIABLE])


def _answers(path: Path) -> Path:
    return path.with_name(f"{path.name}.answers.jsonl")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines() if path.exists() else []:
        yield json.loads(line)


def _users(path: Path) -> list[dict[str, Any]]:
    if path.stat().st_size > MAX_BYTES:
        raise SettingsError(f"{path.name} has more than {MAX_BYTES} bytes", hint="export it in parts")
    users = json.loads(path.read_text())
    if not isinstance(users, list) or not all(isinstance(user, dict) for user in users):
        raise SettingsError(f"{path.name} is no JSON list of objects", hint="export it again")
    return users
