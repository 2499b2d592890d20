"""`expiring_credentials`: migrations that nobody can run any more, since the destination's password has expired."""

from datetime import UTC, datetime, timedelta

from dagster import DefaultSensorStatus, SensorEvaluationContext, SkipReason, sensor

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.orchestration.sensors import starts
from eurosky_pipeline.registry.watch import open_watch
from eurosky_pipeline.settings import load_settings

WARN_BEFORE = timedelta(hours=6)
MAX_PER_TICK = 50


@sensor(
    minimum_interval_seconds=300,
    default_status=DefaultSensorStatus.RUNNING,
    description="Marks migrations failed whose password has expired before they were through, and names those whose "
    f"password expires within {WARN_BEFORE // timedelta(hours=1)} hours.",
)
def expiring_credentials(context: SensorEvaluationContext) -> SkipReason:
    """One tick.

    Without a password no run can come to anything, and a migration that stays pending for want of one would be seen by
    nobody. It is failed, as its next run would make it, and its account free to be registered anew; `retry` with a
    password brings it back. One that a run works on is left alone: it has its session.
    """
    now = datetime.now(UTC)
    watch = open_watch(load_settings())
    try:
        found = watch.without_password(now, now + WARN_BEFORE, MAX_PER_TICK)
        expired = [each for each in found if each.expires_at is None or each.expires_at <= now]
        failed = [
            each
            for each in expired
            if not starts.is_under_way(context.instance, each.token)
            and watch.fail(each.token, _error(each.token), now, unless_wanted_after=now)
        ]
    finally:
        watch.close()
    for each in failed:
        context.log.warning(f"[{each.token}] is failed: {_error(each.token).with_hint()}")
    soon = [each for each in found if each not in expired]
    for each in soon:
        context.log.warning(
            f"[{each.token}] its destination password expires at {each.expires_at:%Y-%m-%d %H:%M:%S} UTC → "
            f"{_hint(each.token)}"
        )
    return SkipReason(
        f"{len(failed)} migrations are failed for want of a password, {len(soon)} passwords expire within "
        f"{WARN_BEFORE // timedelta(hours=1)} hours"
        if failed or soon
        else "no password of a migration under way expires soon"
    )


def _error(token: str) -> SettingsError:
    return SettingsError(
        f"the destination password of {token} has expired", code="credentials_expired", hint=_hint(token)
    )


def _hint(token: str) -> str:
    return f"`eurosky migrations retry {token} --destination-password-env VAR` gives it anew; it is kept for 48 hours"
