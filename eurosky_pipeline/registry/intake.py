"""Many new migrations at once: what is active already is found by one query, the rest goes in by one statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Connection, insert, select

from eurosky_pipeline.registry.credentials import CREDENTIAL_LIFETIME, put_rows
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.outbox import tell_registered
from eurosky_pipeline.registry.rows import new_row
from eurosky_pipeline.registry.states import INACTIVE, State
from eurosky_pipeline.registry.tables import credentials, migrations
from eurosky_pipeline.registry.vault import Side, Vault


@dataclass(frozen=True, slots=True)
class Offer:
    """A migration to be added, with the token that it will have: so that an offer made twice is known again."""

    token: str
    new: NewMigration
    passwords: Mapping[Side, SecretStr] = field(repr=False)


class Verdict(StrEnum):
    """What becomes of an offer."""

    ADDED = "added"
    UNCHANGED = "unchanged"
    """The DID has an active migration between the same hosts; its passwords are the offer's now."""
    IN_THE_WAY = "in_the_way"
    """The DID has an active migration between other hosts."""


@dataclass(frozen=True, slots=True)
class Taken:
    """`token` is the active migration's: the offer's own if it was added."""

    verdict: Verdict
    token: str


@dataclass(frozen=True, slots=True)
class Active:
    """The active migration of a DID; `is_over` if nothing is left to do that would need a password."""

    token: str
    source_pds: str
    destination_pds: str
    is_over: bool


def take_offers(connection: Connection, vault: Vault, offers: Sequence[Offer], now: datetime) -> list[Taken]:
    """Add those that can be, in the caller's transaction; no two are of one DID.

    A password that is given for a migration that is there takes the place of the stored one, and is kept for its full
    time; not so for one that is finished with nothing missing.

    Raises: sqlalchemy's IntegrityError if another process adds one of them at the same moment.
    """
    active = active_by_did(connection, [offer.new.did for offer in offers])
    taken = [judge(active, offer) for offer in offers]
    # a microsecond apart, so that they are found in the order in which they came
    rows = [
        new_row(offer.token, offer.new, now + timedelta(microseconds=place))
        for place, offer in enumerate(offers)
        if offer.new.did not in active
    ]
    if rows:  # in the order of their DIDs: two lists in different orders would wait for each other
        connection.execute(insert(migrations), sorted(rows, key=lambda row: str(row["did"])))
        tell_registered(connection, [row["token"] for row in rows])
    _store_passwords(
        connection,
        vault,
        {
            found.token: offer.passwords
            for offer, found in zip(offers, taken, strict=True)
            if found.verdict is not Verdict.IN_THE_WAY and not _is_over(active, offer)
        },
        now,
    )
    return taken


def judge(active: Mapping[str, Active], offer: Offer) -> Taken:
    """What becomes of an offer, by what is active."""
    found = active.get(offer.new.did)
    if found is None or found.token == offer.token:  # the same offer again: its transaction was in doubt
        return Taken(Verdict.ADDED, offer.token)
    is_same = (found.source_pds, found.destination_pds) == (offer.new.source_pds, offer.new.destination_pds)
    return Taken(Verdict.UNCHANGED if is_same else Verdict.IN_THE_WAY, found.token)


def active_by_did(connection: Connection, dids: Iterable[str]) -> dict[str, Active]:
    """The active migrations of these DIDs; any version of the schema will do."""
    columns = migrations.c
    status = columns.progress_data["reconciliation_status"].as_string()
    query = select(
        columns.token, columns.did, columns.source_pds, columns.destination_pds, columns.state, status.label("status")
    ).where(columns.did.in_(list(dids)), columns.state.not_in(INACTIVE))
    return {row.did: _active(row) for row in connection.execute(query)}


def _store_passwords(
    connection: Connection, vault: Vault, given: Mapping[str, Mapping[Side, SecretStr]], now: datetime
) -> None:
    """Passwords by token, in place of older ones; each is kept for its lifetime, or as long as the older one was."""
    query = select(credentials.c.token, credentials.c.side, credentials.c.expires_at).where(
        credentials.c.token.in_(list(given))
    )
    kept = {(row.token, row.side): row.expires_at for row in connection.execute(query)}
    until = now + CREDENTIAL_LIFETIME
    rows = [
        {
            "token": token,
            "side": side,
            "ciphertext": vault.seal(token, side, password),
            "expires_at": max(until, kept.get((token, side), until)),
        }
        for token, passwords in given.items()
        for side, password in passwords.items()
    ]
    put_rows(connection, rows)


def _active(row: Any) -> Active:
    is_over = row.state == State.PENDING_PREFS and row.status == "complete"
    return Active(row.token, row.source_pds, row.destination_pds, is_over)


def _is_over(active: Mapping[str, Active], offer: Offer) -> bool:
    return offer.new.did in active and active[offer.new.did].is_over
