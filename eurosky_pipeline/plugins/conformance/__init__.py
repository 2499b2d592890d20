"""The conformance kit: what an author's tests call to know that a plugin keeps the promises of its kind.

Each function is silent, or raises a ConformanceError that says which promise is broken and where. None needs a server,
a database or settings of the pipeline's.
"""

from eurosky_pipeline.plugins.conformance.event_sinks import check_event_sink
from eurosky_pipeline.plugins.conformance.intake_sources import check_intake_source
from eurosky_pipeline.plugins.conformance.record_transforms import check_record_transform
from eurosky_pipeline.plugins.conformance.steps import ConformanceError

__all__ = ["ConformanceError", "check_event_sink", "check_intake_source", "check_record_transform"]
