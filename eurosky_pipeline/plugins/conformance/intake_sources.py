"""Whether an intake source keeps its promises.

The check polls it in ticks, as the sensor `new_migrations` does, over what the author has put where it looks: all at
once, one by one, with every answer, and with a process that ends before it has answered.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import islice
from typing import Final

from pydantic import SecretStr

from eurosky_pipeline.plugins.conformance.steps import ConformanceError, checked, step
from eurosky_pipeline.plugins.factories import make
from eurosky_pipeline.plugins.foreign import shown
from eurosky_pipeline.plugins.hooks import Factory
from eurosky_pipeline.plugins.intake_sources import (
    ACCOUNT_FIELDS,
    MAX_CURSOR_CHARACTERS,
    PASSWORDS,
    Account,
    IntakeContext,
    IntakeSource,
    Registered,
    Reply,
)
from eurosky_pipeline.plugins.kinds import INTAKE_SOURCES

_Offer = Account | Registered
_Key = tuple[tuple[str, str], ...]
_TIME_S: Final = 10.0
_PLENTY: Final = 1000
_IDLE_TICKS: Final = 3
"""So many ticks in a row without anything new, and nothing more is awaited."""


def check_intake_source(
    factory: object,
    arrange: Callable[[], object],
    *,
    accounts: Sequence[Mapping[str, str]],
    tokens: Sequence[str] = (),
) -> None:
    """Poll an intake source in several ways; silent if it keeps all its promises.

    They are:
        - a valid name and version, on the factory and on what it makes, which is a new instance each time;
        - it offers what there is, each once in a tick, and a list of no more than the limit;
        - an account has known fields, all of them texts, and an origin for people; no password stands in its repr or
          origin, in a line of the report, or in the cursor;
        - what was ADDED or UNCHANGED is not offered again, and what was REJECTED takes no place of others for ever;
        - what was drawn and not answered, since the process has ended, is offered again;
        - `answered` and `close` do not raise, nor does `poll` where there is nothing, or no time, left;
        - nothing is printed on stdout, which belongs to the commands' results.

    Args:
        factory: what the hook gives: the class, or a factory with name and version.
        arrange: puts the source's world (its file, its server) into the state in which it has exactly `accounts` to
            offer; called before each round, which changes that world by its answers.
        accounts: the fields that are expected, passwords as bare texts; at least two, unless it offers none at all.
        tokens: migrations that are registered and wait to be started, if the source is one that asks for them.

    Raises:
        ConformanceError: the first promise found broken. ValueError: there is nothing to check with.
    """
    if len(accounts) + len(tokens) < 2:
        raise ValueError("there are too few accounts to check with: two or more, so that one can come before another")
    sound = checked(INTAKE_SOURCES, factory)
    world = _World(sound, arrange, accounts, tokens)
    for limit in (_PLENTY, 1):
        for reply in (Reply.ADDED, Reply.UNCHANGED, Reply.REJECTED):
            world.start(limit)
            world.check_all_comes(reply)
    world.start(_PLENTY)
    world.check_the_unanswered_comes_again()
    world.start(_PLENTY)
    with world.tick(time_left_s=0.0):
        pass


class _Tick:
    """One tick with an instance of its own, which is closed at its end."""

    def __init__(self, world: _World, time_left_s: float) -> None:
        self.world, self.name = world, world.factory.name
        self.source: IntakeSource = make(INTAKE_SOURCES, world.factory)
        self.context = IntakeContext(
            limit=world.limit,
            registered=lambda most: [Registered(token) for token in world.waiting[:most]],
            report=self._report,
            time_left_s=lambda: time_left_s,
            cursor=world.cursor,
        )

    def __enter__(self) -> list[_Offer]:
        with step(self.name, "poll"):
            given: object = self.source.poll(self.context)
            if isinstance(given, Sized) and len(given) > self.context.limit:
                raise ConformanceError(f"{self.name}: poll gives {len(given)} offers at a limit of {self.world.limit}")
            self.offers = self._drawn(given)
        return self.offers

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for _ in range(2):
            with step(self.name, "close"):
                self.source.close()
        if kind is None:
            self._check_cursor()

    def answer(self, reply: Reply) -> None:
        for offer in self.offers:
            said = Reply.STARTED if isinstance(offer, Registered) else reply
            token = None if said is Reply.REJECTED else getattr(offer, "token", "EURO-CONFORMANCE00000")
            with step(self.name, f"answered({said})"):
                self.source.answered(offer, said, token, "for the sake of it" if said is Reply.REJECTED else "")

    def _drawn(self, given: object) -> list[_Offer]:
        if not isinstance(given, Iterable):
            raise ConformanceError(f"{self.name}: poll gives {shown(given)}, which is no list")
        offers = list(islice(given, self.context.limit))
        if isinstance(given, Generator):
            given.close()  # it may not be drawn to its end
        for offer in offers:
            self._check(offer)
        return offers

    def _check(self, offer: object) -> None:
        if isinstance(offer, Registered):
            if offer.token not in self.world.waiting:
                raise ConformanceError(f"{self.name}: offers the token {shown(offer.token)}, which does not wait")
            return
        if not isinstance(offer, Account):
            raise ConformanceError(f"{self.name}: offers {shown(offer)}, which is neither Account nor Registered")
        for name, value in offer.fields.items():
            if name not in ACCOUNT_FIELDS:
                raise ConformanceError(f"{self.name}: offers an account with the field {shown(name)}, which is none")
            wanted = SecretStr if name in PASSWORDS else str
            if not isinstance(value, wanted):
                was = f"a {type(value).__name__}, and no {wanted.__name__}"  # its value may be a password
                raise ConformanceError(f"{self.name}: offers an account whose {name} is {was}")
        if not isinstance(offer.origin, str) or not offer.origin or not offer.origin.isprintable():
            raise ConformanceError(f"{self.name}: offers an account whose origin is not a printable text")
        self._check_is_silent("the repr of an account, or its origin,", f"{offer!r} {offer.origin}")

    def _report(self, line: str) -> None:
        if not isinstance(line, str) or not line.isprintable():
            raise ConformanceError(f"{self.name}: reports {shown(line)}, which is no printable line")
        self._check_is_silent("a line of its report", line)

    def _check_cursor(self) -> None:
        cursor: object = self.context.cursor
        if cursor is not None and (not isinstance(cursor, str) or len(cursor) > MAX_CURSOR_CHARACTERS):
            raise ConformanceError(f"{self.name}: its cursor is no text of at most {MAX_CURSOR_CHARACTERS} characters")
        self._check_is_silent("the cursor", cursor or "")

    def _check_is_silent(self, what: str, text: str) -> None:
        if any(secret in text for secret in self.world.secrets):
            raise ConformanceError(f"{self.name}: {what} holds a password")


class _World:
    """What is expected, what is still to come, and what a tick leaves to the next."""

    def __init__(
        self,
        factory: Factory[IntakeSource],
        arrange: Callable[[], object],
        accounts: Sequence[Mapping[str, str]],
        tokens: Sequence[str],
    ) -> None:
        self.factory, self.limit = factory, _PLENTY
        self._arrange = arrange
        self._expected = [_key(dict(fields)) for fields in accounts]
        self._tokens = tokens
        self.secrets = {fields[name] for fields in accounts for name in PASSWORDS if fields.get(name)}

    def start(self, limit: int) -> None:
        """Everything is to come, and nothing remembered."""
        self._arrange()
        self.limit, self.waiting = limit, list(self._tokens)
        self.cursor: str | None = None

    def tick(self, time_left_s: float = _TIME_S) -> _Tick:
        return _Tick(self, time_left_s)

    def check_all_comes(self, reply: Reply) -> None:
        """Ticks until nothing new comes, each offer answered so."""
        name = self.factory.name
        came: list[_Key] = []
        for fresh in self._ticks(reply):
            repeated = [key for key in fresh if key in came]
            if repeated and reply is not Reply.REJECTED:
                raise ConformanceError(f"{name}: offers {_shown(repeated[0])} again, which was {reply}")
            came += [key for key in fresh if key not in came]
        if missing := [key for key in self._expected if key not in came]:
            why = f"in ticks of {self.limit}, where all others are {reply}"
            raise ConformanceError(f"{name}: never offers {_shown(missing[0])} {why}")
        if strange := [key for key in came if key not in self._expected]:
            raise ConformanceError(f"{name}: offers {_shown(strange[0])}, which nobody has put there")
        if self.waiting:
            raise ConformanceError(f"{name}: never offers the migration {self.waiting[0]}, which waits")

    def check_the_unanswered_comes_again(self) -> None:
        """As if the process had ended: not answered, the tick's cursor not kept."""
        with self.tick() as first:
            pass
        with self.tick() as again:
            pass
        if {_key_of(offer) for offer in first} - {_key_of(offer) for offer in again}:
            raise ConformanceError(f"{self.factory.name}: does not offer again what was drawn and not answered")

    def _ticks(self, reply: Reply) -> Iterator[list[_Key]]:
        idle, seen = 0, set[_Key]()
        while idle < _IDLE_TICKS:
            tick = self.tick()
            with tick as offers:
                tick.answer(reply)
            self.cursor = tick.context.cursor
            keys = [_key_of(offer) for offer in offers]
            if len(set(keys)) < len(keys):
                raise ConformanceError(f"{self.factory.name}: offers the same twice in one tick")
            started = {offer.token for offer in offers if isinstance(offer, Registered)}
            self.waiting = [token for token in self.waiting if token not in started]
            idle = 0 if set(keys) - seen else idle + 1
            seen |= set(keys)
            yield [key for key, offer in zip(keys, offers, strict=True) if isinstance(offer, Account)]


def _key_of(offer: _Offer) -> _Key:
    if isinstance(offer, Registered):
        return (("token", offer.token),)
    return _key({name: _bare(value) for name, value in offer.fields.items()})


def _bare(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _key(fields: Mapping[str, str]) -> _Key:
    return tuple(sorted(item for item in fields.items() if item[1]))


def _shown(key: _Key) -> str:
    """An account in few words, without its passwords."""
    return f"the account {', '.join(f'{name}={value}' for name, value in key if name not in PASSWORDS)[:200]}"
