"""The five-thread streaming transfer, as the resource that assets ask for."""

from collections.abc import Callable, Iterable
from datetime import datetime

from dagster import ConfigurableResource

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.orchestration.steps import Step
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.transfer.blob_copy import BlobCopier
from eurosky_pipeline.transfer.blobs import TransferTotals, transfer_blobs
from eurosky_pipeline.transfer.manifest import ManifestRow
from eurosky_pipeline.transfer.plan import IMPORTED_AT, TransferPlan, plan_transfer
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import describe_server
from eurosky_pipeline.xrpc.retry import RetryPolicy


class BlobTransferResource(ConfigurableResource["BlobTransferResource"]):
    """The streaming transfer: `parallel_blobs` threads, memory that no blob's size changes, verified both ways.

    A field that is None is read from the environment when a transfer begins.
    """

    parallel_blobs: int | None = None
    progress_update_interval: int | None = None
    max_blob_bytes: int | None = None
    max_blob_retries: int | None = None

    def plan(self, step: Step, manifest: Iterable[ManifestRow], destination: XrpcClient) -> TransferPlan:
        """What of the manifest is to be moved; see `plan_transfer`."""
        imported_at = step.migration.progress_data.get(IMPORTED_AT)
        return plan_transfer(
            destination,
            step.migration.did,
            manifest,
            step.registry.each_outcome(step.token),
            imported_at=datetime.fromisoformat(imported_at) if imported_at else None,
            workers=self.workers,
            stop=step.stop,
        )

    def run(
        self,
        step: Step,
        plan: TransferPlan,
        source: XrpcClient,
        destination: XrpcClient,
        on_settled: Callable[[TransferTotals, BlobOutcome], None] = lambda *_: None,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> TransferTotals:
        """Copy these blobs; each ends in one outcome in the ledger. Arguments and errors as `transfer_blobs`."""
        settings = load_settings()
        limit = describe_server(destination).blob_upload_limit_bytes
        max_bytes = self.max_blob_bytes or settings.max_blob_bytes
        retries = settings.max_blob_retries if self.max_blob_retries is None else self.max_blob_retries
        with step.files.blob_folder() as folder:
            copier = BlobCopier(
                source=source,
                destination=destination,
                did=step.migration.did,
                folder=folder,
                max_bytes=min(max_bytes, limit or max_bytes),
                stop=step.stop,
                policy=RetryPolicy(retries, settings.max_wait_s),
                on_bytes=on_bytes,
            )
            totals = transfer_blobs(
                plan,
                copier,
                step.registry,
                step.token,
                workers=self.workers,
                update_interval=self.progress_update_interval or settings.progress_update_interval,
                stop=step.stop,
                on_settled=on_settled,
            )
        if plan.to_move and totals.has_moved_nothing_for_now:
            for client in (source, destination):
                describe_server(client)  # raises where it is the host, and not the blobs
        return totals

    @property
    def workers(self) -> int:
        """How many threads there are."""
        return self.parallel_blobs or load_settings().parallel_blobs

    def run_again(
        self, step: Step, cids: list[Cid], planned: list[Cid], source: XrpcClient, destination: XrpcClient
    ) -> list[BlobOutcome]:
        """Copy these once more, after a transfer whose other planned blobs still count; what became of each."""
        again = set(cids)
        others = set(planned) - again
        arrived = moved_bytes = 0
        for row in step.registry.each_outcome(step.token):
            if row.is_there and row.blob_cid in others:
                arrived += 1
                moved_bytes += row.size_bytes if row.outcome is Outcome.TRANSFERRED else 0
        self.run(step, TransferPlan(cids, arrived, moved_bytes), source, destination)
        return [row for row in step.registry.each_outcome(step.token) if row.blob_cid in again]
