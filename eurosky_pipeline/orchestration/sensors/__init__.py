"""What starts runs by itself, and puts right what went wrong: one module for each sensor, its tick in it.

Belongs here: what a tick looks at, asks for and says. Does not: what a migration does, nor how its row changes
(`registry.watch`), nor what the intake takes (`intake.polling`).
"""

from dagster import SensorDefinition

from eurosky_pipeline.orchestration.sensors.deliver_events import deliver_events
from eurosky_pipeline.orchestration.sensors.expiring_credentials import expiring_credentials
from eurosky_pipeline.orchestration.sensors.migration_failed import migration_failed
from eurosky_pipeline.orchestration.sensors.new_migrations import new_migrations
from eurosky_pipeline.orchestration.sensors.resume_waiting import resume_waiting
from eurosky_pipeline.orchestration.sensors.stuck_migrations import stuck_migrations

ALL_SENSORS: tuple[SensorDefinition, ...] = (
    new_migrations,
    resume_waiting,
    stuck_migrations,
    migration_failed,
    expiring_credentials,
    deliver_events,
)
"""Each is on by itself; `switches` makes of them what the settings say."""
