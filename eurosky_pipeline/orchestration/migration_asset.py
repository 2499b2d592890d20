"""`@migration_asset`: an asset of a migration's partition, which may end without its output and be no failure."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dagster import AssetCheckSpec, AssetsDefinition, MaterializeResult, Output, asset

from eurosky_pipeline.orchestration.partitions import MIGRATIONS

OWNERS = ["team:migrations"]


class PutOff(Exception):
    """The migration waits, as its row says; a step ends with this, and leaves the rest to the run that takes it up."""


def migration_asset(
    *,
    kinds: set[str],
    code_version: str = "1",
    deps: Sequence[AssetsDefinition] = (),
    check_specs: Sequence[AssetCheckSpec] = (),
) -> Callable[[Callable[..., Iterator[MaterializeResult[Any]]]], AssetsDefinition]:
    """Dagster's `@asset` around a generator of one MaterializeResult; its docstring is what the UI tells of it.

    `code_version` says what it makes: another one whenever the same migration would come out otherwise, so that the
    UI shows which materializations are of an older one.

    Where the generator ends with `PutOff`, its step is a success, nothing is materialized, no check is evaluated, and
    what depends on it in the same run is skipped.
    """

    def decorate(work: Callable[..., Iterator[MaterializeResult[Any]]]) -> AssetsDefinition:
        @functools.wraps(work)
        def unless_put_off(*args: Any, **kwargs: Any) -> Iterator[MaterializeResult[Any] | Output[None]]:
            try:
                yield from work(*args, **kwargs)
            except PutOff:
                # an asset's output may be left out, its checks' must not: Dagster would have the step fail
                for spec in check_specs:
                    yield Output(None, output_name=spec.get_python_identifier())

        return asset(
            partitions_def=MIGRATIONS,
            group_name="migration",
            owners=OWNERS,
            code_version=code_version,
            kinds=kinds,
            deps=deps,
            check_specs=check_specs,
            output_required=False,
        )(unless_put_off)

    return decorate
