"""At the end of a command that has moved something: whoever wants to know of it is told, and nothing fails of that."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from eurosky_pipeline.cli.output import tell

if TYPE_CHECKING:
    from eurosky_pipeline.settings import Settings

BUDGET_S = 5.0


def tell_sinks(settings: Settings) -> None:
    """Deliver what is due, for about five seconds; what is left, or goes wrong, `eurosky up` delivers later."""
    from sqlalchemy.exc import SQLAlchemyError

    from eurosky_pipeline.errors import EuroskyError
    from eurosky_pipeline.events.delivery import deliver
    from eurosky_pipeline.plugins.foreign import prints_aside
    from eurosky_pipeline.registry.deliveries import open_outbox

    try:
        with closing(open_outbox(settings)) as outbox, prints_aside():
            told = deliver(settings, outbox, BUDGET_S)
    except (EuroskyError, SQLAlchemyError) as error:
        tell(f"events are told later: {error.message if isinstance(error, EuroskyError) else type(error).__name__}")
        return
    for sink in told.sinks:
        for line in sink.trouble():
            tell(f"events: {line}")
