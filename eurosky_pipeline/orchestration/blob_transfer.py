"""The five-thread streaming transfer, as the resource that assets ask for."""

from collections.abc import Callable, Iterable

from dagster import ConfigurableResource

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.orchestration.steps import Step
from eurosky_pipeline.registry.ledger import BlobOutcome
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.transfer.blob_copy import BlobCopier
from eurosky_pipeline.transfer.blobs import TransferTotals, transfer_blobs
from eurosky_pipeline.transfer.resume import arrived_before
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import describe_server


class BlobTransferResource(ConfigurableResource["BlobTransferResource"]):
    """The streaming transfer: `parallel_blobs` threads, memory that no blob's size changes, verified both ways.

    A field that is None is read from the environment when a transfer begins.
    """

    parallel_blobs: int | None = None
    progress_update_interval: int | None = None
    max_blob_bytes: int | None = None

    def run(
        self,
        step: Step,
        cids: list[Cid],
        source: XrpcClient,
        destination: XrpcClient,
        on_settled: Callable[[TransferTotals], None] = lambda _: None,
        *,
        settled_before: Iterable[BlobOutcome] = (),
    ) -> TransferTotals:
        """Copy these blobs; each ends in one outcome in the ledger. Arguments and errors as `transfer_blobs`."""
        settings = load_settings()
        limit = describe_server(destination).blob_upload_limit_bytes
        max_bytes = self.max_blob_bytes or settings.max_blob_bytes
        with step.files.blob_folder() as folder:
            copier = BlobCopier(
                source=source,
                destination=destination,
                did=step.migration.did,
                folder=folder,
                max_bytes=min(max_bytes, limit or max_bytes),
                stop=step.stop,
            )
            return transfer_blobs(
                cids,
                copier,
                step.registry,
                step.token,
                workers=self.workers,
                update_interval=self.progress_update_interval or settings.progress_update_interval,
                stop=step.stop,
                settled_before=settled_before,
                on_settled=on_settled,
            )

    @property
    def workers(self) -> int:
        """How many threads there are."""
        return self.parallel_blobs or load_settings().parallel_blobs

    def arrived_before(self, step: Step, planned: list[Cid], destination: XrpcClient) -> list[BlobOutcome]:
        """Those of the planned blobs that need not be sent again; see `transfer.resume`."""
        wanted = set(planned)
        ledger = [outcome for outcome in step.registry.outcomes(step.token) if outcome.blob_cid in wanted]
        return arrived_before(destination, step.migration.did, ledger, workers=self.workers, stop=step.stop)

    def run_again(
        self, step: Step, cids: list[Cid], planned: list[Cid], source: XrpcClient, destination: XrpcClient
    ) -> list[BlobOutcome]:
        """Copy these once more, after a transfer whose other planned blobs still count; what became of each."""
        again = set(cids)
        still = set(planned) - again
        others = [outcome for outcome in step.registry.outcomes(step.token) if outcome.blob_cid in still]
        self.run(step, cids, source, destination, settled_before=others)
        return [outcome for outcome in step.registry.outcomes(step.token) if outcome.blob_cid in again]
