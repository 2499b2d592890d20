"""A limit that resets in an hour, met by the real command between real servers: told, waited for, and gone on from."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.sandbox.seed import SeededAccount, seed
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline_tests.integration.command import eurosky
from eurosky_pipeline_tests.integration.relay_pds import Asked, Fault, relay_pds
from eurosky_pipeline_tests.pipeline import register
from eurosky_pipeline_tests.stub_pds import Answer

UPLOAD_BLOB = "com.atproto.repo.uploadBlob"
BLOBS = 6


@pytest.fixture(scope="module")
def account(sandbox) -> SeededAccount:
    return seed(sandbox.state, records=10, blobs=BLOBS, blob_bytes=9_000, report=print)


def limited_after(passed: int, sent: list[bytes]) -> Fault:
    """So many uploads pass, then the limit is used up for an hour."""

    def fault(asked: Asked) -> Answer | None:
        sent.append(asked.body)
        if len(sent) <= passed:
            return None
        sent.pop()
        return Answer(b'{"error": "RateLimitExceeded"}', 429, headers={"retry-after": "3600"})

    return fault


def test_a_limit_that_resets_in_an_hour_is_waited_for_and_gone_on_from(sandbox, account: SeededAccount) -> None:
    registry, sent = open_registry(load_settings()), []
    # one worker, so that it is known how many blobs pass before the limit
    variables = {"EUROSKY_ALLOW_PRIVATE_HOSTS": "true", "EUROSKY_PLC_URL": account.plc_url, "PARALLEL_BLOBS": "1"}
    with relay_pds(account.destination_pds) as destination:
        token = register(registry, account, destination_pds=destination.url).token
        destination.faults[UPLOAD_BLOB] = limited_after(2, sent)
        done = eurosky("migrate", token, "--json", home=sandbox.home, **variables)
        assert done.exit_code == 4, done.stderr
        (outcome,) = done.json
        assert (outcome["state"], outcome["error_code"], outcome["exit_code"]) == ("waiting", "rate_limited", 4)
        assert destination.url.removeprefix("http://") in outcome["error"]
        waiting = registry.get(token)
        assert waiting.resume_at is not None
        assert outcome["resume_at"] == waiting.resume_at.isoformat(timespec="seconds")
        assert 3400 < (waiting.resume_at - datetime.now(UTC)).total_seconds() < 3661
        assert (waiting.stopped_in, waiting.progress_data["blobs_completed"]) == (State.PENDING_BLOBS, 2)
        assert len(registry.outcomes(token)) == 2

        destination.faults[UPLOAD_BLOB] = limited_after(BLOBS, sent)
        again = eurosky("migrate", token, "--json", home=sandbox.home, **variables)
    assert again.exit_code == 0, again.stderr
    assert (again.json[0]["state"], again.json[0]["resume_at"]) == ("pending_prefs", None)
    assert len(sent) == len(set(sent)) == BLOBS
    assert registry.get(token).attempts == 2
    registry.close()
