"""What a measurement has to come to, and how the tables tell it."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Demand:
    """What must hold, or (`is_aim`) would be good."""

    text: str
    is_met: bool
    is_aim: bool = False


def told(demands: Iterable[Demand], *, is_aim: bool) -> str:
    """A cell of a table: all that must hold, or all that is aimed for."""
    texts = [d.text + ("" if d.is_met else " (not met)") for d in demands if d.is_aim == is_aim]
    return ", ".join(texts)


def missed(demands: Iterable[Demand]) -> list[Demand]:
    """What had to hold, and does not."""
    return [demand for demand in demands if not demand.is_met and not demand.is_aim]
