"""The six assets, one a file, in the order in which an account moves.

exported_car ─▶ converted_car ─▶ imported_repo ─▶ transferred_blobs ─▶ reconciliation_report
                      └─────────▶ blob_manifest ────────┘
"""

from eurosky_pipeline.orchestration.assets.blob_manifest import blob_manifest
from eurosky_pipeline.orchestration.assets.converted_car import converted_car
from eurosky_pipeline.orchestration.assets.exported_car import exported_car
from eurosky_pipeline.orchestration.assets.imported_repo import imported_repo
from eurosky_pipeline.orchestration.assets.reconciliation_report import reconciliation_report
from eurosky_pipeline.orchestration.assets.transferred_blobs import transferred_blobs

ALL_ASSETS = [exported_car, converted_car, imported_repo, blob_manifest, transferred_blobs, reconciliation_report]

__all__ = ["ALL_ASSETS"]
