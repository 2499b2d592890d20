"""`deliver_events`: the event sinks are told what has become of migrations."""

from dagster import DefaultSensorStatus, SensorEvaluationContext, SkipReason, sensor

from eurosky_pipeline.events.delivery import deliver
from eurosky_pipeline.registry.deliveries import open_outbox
from eurosky_pipeline.settings import load_settings

BUDGET_S = 20.0
"""Of a tick, which Dagster ends after a minute."""


@sensor(
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Tells the event sinks (EUROSKY_EVENT_SINKS) what has become of migrations, and deletes what all know.",
)
def deliver_events(context: SensorEvaluationContext) -> SkipReason:
    """One tick; it asks for no run. What it cannot tell, the next one tries."""
    settings = load_settings()
    outbox = open_outbox(settings)
    try:
        lines = deliver(settings, outbox, BUDGET_S, is_tidying=True).lines()
    finally:
        outbox.close()
    for line in lines:
        context.log.info(line)
    return SkipReason("; ".join(lines) if lines else "nobody has to be told of anything")
