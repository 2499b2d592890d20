"""Events, a line of JSON each, at the end of a file: for a log shipper, or for `jq`."""

import json
import os

from eurosky_pipeline.errors import TransientError
from eurosky_pipeline.plugins.event_sinks import Event, EventSink
from eurosky_pipeline.plugins.hooks import hookimpl

VARIABLE = "EVENT_FILE"


class EventFile(EventSink):
    name = "event_file"
    version = "1"

    def is_configured(self) -> bool:
        return bool(os.environ.get(VARIABLE))

    def deliver(self, event: Event) -> None:
        line = json.dumps(event.to_json()).encode() + b"\n"
        try:
            file = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                written = os.write(file, line)  # in one go, since others may write to it at the same time
            finally:
                os.close(file)
        except OSError as error:  # a full disk, a share that is away: the event waits, and those after it
            raise TransientError(f"the event file cannot be written: {error.strerror}", code="disk") from error
        if written < len(line):
            raise TransientError("the event file took a part of the line only", code="disk_full")


@hookimpl
def eurosky_event_sinks() -> list[type[EventSink]]:
    return [EventFile]
