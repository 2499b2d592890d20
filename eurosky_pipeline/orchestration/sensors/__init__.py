"""What starts runs by itself, and puts right what went wrong: one module for each sensor, its tick in it.

Belongs here: what a tick looks at, asks for and says. Does not: what a migration does, nor how its row changes.
"""

from dagster import SensorDefinition

from eurosky_pipeline.orchestration.sensors.new_migrations import new_migrations
from eurosky_pipeline.orchestration.sensors.resume_waiting import resume_waiting

ALL_SENSORS: tuple[SensorDefinition, ...] = (new_migrations, resume_waiting)
"""Each is on by itself; `switches` makes of them what the settings say."""
