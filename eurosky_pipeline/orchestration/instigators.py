"""What Dagster keeps of each sensor and schedule: whether a person has switched it, and what its last tick said.

It is kept by the names of location, repository and sensor: those that `eurosky up` loads. So it can be read and changed
while nothing runs, and by whatever else uses the instance.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from dagster import DagsterInstance, ScheduleDefinition, SensorDefinition
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorTick,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickStatus,
)
from dagster._core.workspace.load import location_origins_from_yaml_paths

from eurosky_pipeline.orchestration.instance import WORKSPACE_FILE
from eurosky_pipeline.orchestration.schedules import ALL_SCHEDULES
from eurosky_pipeline.orchestration.sensors import ALL_SENSORS
from eurosky_pipeline.orchestration.switches import is_on_by_itself

_REPOSITORY = "__repository__"
_MAX_SAID = 400
Definition = SensorDefinition | ScheduleDefinition


@dataclass(frozen=True, slots=True)
class Tick:
    """The last look of a sensor or schedule. `said` is one line."""

    at: datetime
    status: str
    said: str


@dataclass(frozen=True, slots=True)
class Instigator:
    """A sensor or schedule as it stands.

    Attributes:
        is_switched: a person has said whether it is on, here or in the UI; else it is as the settings say.
        when: how often it looks, for people.
        last_tick: None where it has never ticked, or its ticks are deleted by now.
    """

    name: str
    kind: str
    is_on: bool
    is_switched: bool
    when: str
    what: str
    last_tick: Tick | None


def look(instance: DagsterInstance, names: Iterable[str] = ()) -> list[Instigator]:
    """All, or those of these names, as they stand."""
    by_itself, wanted = is_on_by_itself(), set(names)
    return [_look(instance, each, by_itself[each.name]) for each in _definitions() if not wanted or each.name in wanted]


def switch(instance: DagsterInstance, name: str, *, is_on: bool) -> None:
    """Switch the sensor or schedule of this name; it stays so, whatever the settings say."""
    (definition,) = (each for each in _definitions() if each.name == name)
    origin, status = _origin(name), InstigatorStatus.RUNNING if is_on else InstigatorStatus.STOPPED
    before = instance.get_instigator_state(origin.get_id(), origin.get_selector().get_id())
    if before is None:
        state = InstigatorState(origin, _type(definition), status, _data(definition, is_on=is_on))
        instance.add_instigator_state(state)
        return
    state = before.with_status(status)
    if is_on and isinstance(before.instigator_data, SensorInstigatorData):
        state = state.with_data(before.instigator_data.with_sensor_start_timestamp(time.time()))
    elif is_on:
        state = state.with_data(_data(definition, is_on=is_on))
    instance.update_instigator_state(state)


def _definitions() -> list[Definition]:
    return [*ALL_SENSORS, *ALL_SCHEDULES]


def _look(instance: DagsterInstance, definition: Definition, is_on_by_itself: bool) -> Instigator:
    origin = _origin(definition.name)
    selector_id = origin.get_selector().get_id()
    state = instance.get_instigator_state(origin.get_id(), selector_id)
    is_switched = state is not None and state.status is not InstigatorStatus.DECLARED_IN_CODE
    ticks = instance.get_ticks(origin.get_id(), selector_id, limit=1)
    return Instigator(
        name=definition.name,
        kind="sensor" if isinstance(definition, SensorDefinition) else "schedule",
        is_on=state.status is InstigatorStatus.RUNNING if state and is_switched else is_on_by_itself,
        is_switched=is_switched,
        when=_when(definition),
        what=definition.description or "",
        last_tick=_tick(ticks[0]) if ticks else None,
    )


def _origin(name: str) -> RemoteInstigatorOrigin:
    (location,) = location_origins_from_yaml_paths([str(WORKSPACE_FILE)])
    return RemoteRepositoryOrigin(code_location_origin=location, repository_name=_REPOSITORY).get_instigator_origin(
        name
    )


def _type(definition: Definition) -> InstigatorType:
    return InstigatorType.SENSOR if isinstance(definition, SensorDefinition) else InstigatorType.SCHEDULE


def _data(definition: Definition, *, is_on: bool) -> SensorInstigatorData | ScheduleInstigatorData:
    now_s = time.time() if is_on else None
    if isinstance(definition, SensorDefinition):
        return SensorInstigatorData(
            min_interval=definition.minimum_interval_seconds,
            last_sensor_start_timestamp=now_s,
            sensor_type=definition.sensor_type,
        )
    return ScheduleInstigatorData(definition.cron_schedule, start_timestamp=now_s)


def _when(definition: Definition) -> str:
    if isinstance(definition, SensorDefinition):
        return f"every {definition.minimum_interval_seconds} s"
    return f"{definition.cron_schedule} ({definition.execution_timezone or 'UTC'})"


def _tick(tick: InstigatorTick) -> Tick:
    return Tick(datetime.fromtimestamp(tick.timestamp, UTC), tick.status.value.lower(), _said(tick))


def _said(tick: InstigatorTick) -> str:
    if tick.status is TickStatus.FAILURE and tick.error is not None:
        words = _root_message(tick)
    elif tick.skip_reason:
        words = tick.skip_reason
    else:
        words = f"runs asked for: {len(tick.run_ids)}" if tick.run_ids else ""
    return " ".join(words.split())[:_MAX_SAID]


def _root_message(tick: InstigatorTick) -> str:
    error = tick.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message if error is not None else ""
