"""Jobs for the tests of the run launcher: a worker finds them by the name of this module, as it finds the project's."""

import os
import signal
import time

from dagster import Definitions, OpExecutionContext, in_process_executor, job, op


@op
def say(context: OpExecutionContext) -> None:
    context.log.info(f"in process {os.getpid()} of {os.getppid()}")


@op
def wait_for_the_file(context: OpExecutionContext) -> None:
    """Until somebody puts a file at the path that the run's tags name, or interrupts."""
    deadline_s = time.monotonic() + 120
    while not os.path.exists(context.run.tags["path"]) and time.monotonic() < deadline_s:  # noqa: PTH110
        time.sleep(0.05)


@op
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@job
def ends_well() -> None:
    say()


@job
def waits() -> None:
    wait_for_the_file()


@job
def dies() -> None:
    die()


defs = Definitions(jobs=[ends_well, waits, dies], executor=in_process_executor)
