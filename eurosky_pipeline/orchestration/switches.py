"""Which sensors and schedules are on by themselves: all, but for those that EUROSKY_SENSORS_OFF names."""

import copy
from collections.abc import Collection
from typing import TypeVar

from dagster import DefaultScheduleStatus, DefaultSensorStatus, ScheduleDefinition, SensorDefinition

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.orchestration.schedules import ALL_SCHEDULES
from eurosky_pipeline.orchestration.sensors import ALL_SENSORS
from eurosky_pipeline.settings import Settings, load_settings

Switched = TypeVar("Switched", SensorDefinition, ScheduleDefinition)


def names() -> list[str]:
    """Of all that can be switched on and off."""
    return sorted([*(sensor.name for sensor in ALL_SENSORS), *(schedule.name for schedule in ALL_SCHEDULES)])


def build_sensors() -> list[SensorDefinition]:
    """The sensors as Dagster loads them. Reads the environment."""
    off = _off()
    return [_switched(sensor, DefaultSensorStatus.STOPPED) if sensor.name in off else sensor for sensor in ALL_SENSORS]


def build_schedules() -> list[ScheduleDefinition]:
    """The schedules likewise."""
    off = _off()
    stopped = DefaultScheduleStatus.STOPPED
    return [_switched(schedule, stopped) if schedule.name in off else schedule for schedule in ALL_SCHEDULES]


def is_on_by_itself() -> dict[str, bool]:
    """Of each name, whether it ticks where no person has said otherwise."""
    off = _off()
    return {name: name not in off for name in names()}


def check_names(settings: Settings) -> None:
    """Raises: SettingsError: EUROSKY_SENSORS_OFF names what there is not, so that what it means to stop would run."""
    known = names()
    unknown = [name for name in settings.sensors_off if name not in known]
    if unknown:
        raise SettingsError(
            f"EUROSKY_SENSORS_OFF names {', '.join(unknown)}: there is no such sensor or schedule",
            code="unknown_sensor",
            hint=f"there are {', '.join(known)}",
        )


def _off() -> Collection[str]:
    """Where the settings cannot be read nothing starts: Dagster has to be able to load this, and whoever runs it is
    told of the fault by every command."""
    try:
        return load_settings().sensors_off
    except SettingsError:
        return names()


def _switched(definition: Switched, status: DefaultSensorStatus | DefaultScheduleStatus) -> Switched:
    """A copy; Dagster takes the status once only, when a definition is decorated, and there nobody has looked yet."""
    switched = copy.copy(definition)
    switched._default_status = status  # type: ignore[assignment]
    return switched
