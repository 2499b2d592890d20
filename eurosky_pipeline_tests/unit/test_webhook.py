"""The sinks `webhook` and `log`: what is sent and signed, what an answer means, and what nobody gets to see."""

from __future__ import annotations

import base64
import json
import logging
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eurosky_pipeline.errors import EuroskyError, PermanentError, SettingsError, TransientError
from eurosky_pipeline.events import log_sink, webhook
from eurosky_pipeline.events.delivery import LONGEST_WAIT_S, wait_s
from eurosky_pipeline.events.log_sink import LOG_NAME, LogSink
from eurosky_pipeline.events.webhook import Webhook, signed_headers
from eurosky_pipeline.plugins.event_sinks import Event, EventKind
from eurosky_pipeline_tests.unit.webhook_receiver import Receiver, webhook_receiver

KEY, OLDER_KEY = bytes(range(32)), bytes(24)
SECRET = "whsec_" + base64.b64encode(KEY).decode()
OLDER_SECRET = "whsec_" + base64.b64encode(OLDER_KEY).decode()
PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
EVENT = Event(
    id=17,
    kind=EventKind.STATE_CHANGED,
    token="EURO-0123456789ABCDEF",
    did="did:plc:ewvi7nxzyoun6zhxrhs64oiz",
    handle="alice.example",
    source_pds="https://old.example",
    destination_pds="https://new.example",
    state_before="pending_repo",
    state_after="failed",
    error_code="gone",
    error_text="alice.example is gone: ü",
    summary={},
    happened_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with webhook_receiver() as found:
        monkeypatch.setenv("EUROSKY_WEBHOOK_URL", found.url)
        monkeypatch.setenv("EUROSKY_WEBHOOK_SECRET", SECRET)
        yield found


def deliver(event: Event = EVENT) -> None:
    sink = Webhook()
    try:
        assert sink.is_configured()
        sink.deliver(event)
    finally:
        sink.close()


def documented_check():
    """The function that docs/operations.md gives to receivers."""
    (code,) = re.findall(r"```python\n(.+?)```", PAGE.partition("## Being told")[2], re.S)
    names: dict[str, object] = {}
    exec(code, names)
    return names["is_genuine"]


def test_what_the_page_tells_receivers_to_check_takes_ours_and_nothing_else(receiver: Receiver) -> None:
    deliver()
    ((headers, body),) = receiver.requests
    is_genuine = documented_check()
    assert is_genuine(SECRET, headers, body) is True
    assert is_genuine(OLDER_SECRET, headers, body) is False
    assert is_genuine(SECRET, headers, body + b" ") is False
    assert is_genuine(SECRET, {**headers, "webhook-id": "another"}, body) is False
    stale = signed_headers([KEY], "id", 1_000_000_000, body)
    assert is_genuine(SECRET, stale, body) is False
    assert is_genuine(SECRET, {**headers, "webhook-signature": "v1,é v2,x"}, body) is False


def test_an_event_is_sent_as_the_standard_has_it(receiver: Receiver) -> None:
    deliver()
    ((headers, body),) = receiver.requests
    assert headers["webhook-id"] == "EURO-0123456789ABCDEF-17"
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {
        "type": "migration.state_changed",
        "timestamp": "2026-01-02T03:04:05+00:00",
        "data": EVENT.to_json(),
    }


def test_a_signature_is_the_one_of_the_standards_own_example() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signed_headers([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_while_a_key_is_changed_both_sign(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUROSKY_WEBHOOK_SECRET", f"{SECRET}, {OLDER_SECRET}")
    deliver()
    ((headers, body),) = receiver.requests
    assert documented_check()(SECRET, headers, body)
    assert documented_check()(OLDER_SECRET, headers, body)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_event_that_the_receiver_will_not_have_is_refused(receiver: Receiver, status: int) -> None:
    receiver.statuses = [status]
    with pytest.raises(PermanentError, match=f"answers {status}") as caught:
        deliver()
    assert caught.value.code == "webhook_refused"


@pytest.mark.parametrize("status", [302, 401, 403, 404, 408, 410, 429, 500, 503])
def test_what_is_no_fault_of_the_event_is_tried_again_and_no_redirect_is_followed(
    receiver: Receiver, status: int
) -> None:
    receiver.statuses, receiver.headers = [status], {"Retry-After": "77", "Location": receiver.url}
    with pytest.raises(TransientError, match=f"answers {status}") as caught:
        deliver()
    assert (caught.value.code, caught.value.retry_after_s) == ("webhook_unavailable", 77)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("asked", ["1e9", "1000000000", "99999999999999999999", "1E300"])
def test_a_receiver_that_asks_for_decades_is_left_alone_for_the_longest_wait(receiver: Receiver, asked: str) -> None:
    receiver.statuses, receiver.headers = [429], {"Retry-After": asked}
    with pytest.raises(TransientError) as caught:
        deliver()
    assert wait_s(1, caught.value.retry_after_s) == LONGEST_WAIT_S


def test_a_receiver_that_is_away_or_silent_is_tried_again_and_its_address_is_not_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(webhook, "REQUEST_TIMEOUT_S", 0.3)
    found: list[str] = []
    with webhook_receiver() as receiver:
        monkeypatch.setenv("EUROSKY_WEBHOOK_URL", receiver.url)
        monkeypatch.setenv("EUROSKY_WEBHOOK_SECRET", SECRET)
        receiver.silence_s = 1.0
        for _ in range(2):
            with pytest.raises(TransientError, match="cannot be reached") as caught:
                deliver()
            found.append(caught.value.with_hint())
            receiver.silence_s = 0.0
            receiver.headers = {"content-length": "broken"}
    with pytest.raises(TransientError, match="the webhook on 127") as caught:
        deliver()
    sink = Webhook()
    sink.is_configured()
    told = "".join([*found, caught.value.with_hint(), repr(vars(sink)), caplog.text])
    assert "hidden" not in told
    assert SECRET not in told
    assert repr(KEY)[2:20] not in told


def test_no_more_of_an_answer_is_read_than_a_little(receiver: Receiver) -> None:
    receiver.answer = b"x" * 50_000_000
    deliver()
    assert receiver.was_read.get(timeout=30) is False


def test_two_events_go_through_one_connection(receiver: Receiver) -> None:
    sink = Webhook()
    sink.is_configured()
    sink.deliver(EVENT)
    before = sink._transport
    sink.deliver(replace(EVENT, id=18))
    assert sink._transport is before
    sink.close()
    sink.close()
    assert [headers["webhook-id"][-2:] for headers, _ in receiver.requests] == ["17", "18"]


def test_without_an_address_it_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUROSKY_WEBHOOK_SECRET", SECRET)
    assert Webhook().is_configured() is False


@pytest.mark.parametrize(
    ("url", "secret", "code"),
    [
        ("https://hooks.example/hidden", "", "webhook_secret"),
        ("https://hooks.example/hidden", "hunter2-hunter2-hunter2", "webhook_secret"),
        ("https://hooks.example/hidden", "whsec_AAAA", "webhook_secret"),
        ("https://hooks.example/hidden", "whsec_" + base64.b64encode(bytes(65)).decode(), "webhook_secret"),
        ("https://hooks.example/hidden", f"{SECRET},", "webhook_secret"),
        ("http://hooks.example/hidden", SECRET, "webhook_url"),
        ("http://192.168.1.5/hidden", SECRET, "webhook_url"),
        ("ftp://hooks.example/hidden", SECRET, "webhook_url"),
        ("hidden", SECRET, "webhook_url"),
        ("https://[hidden", SECRET, "webhook_url"),
        ("https://hidden:hunter2@hooks.example/in", SECRET, "webhook_url"),
        ("http://hidden@localhost:9/in", SECRET, "webhook_url"),
        ("https://hooks.example/hid den", SECRET, "webhook_url"),
    ],
)
def test_what_would_go_unsigned_or_in_the_open_is_not_sent_at_all(
    url: str, secret: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EUROSKY_WEBHOOK_URL", url)
    monkeypatch.setenv("EUROSKY_WEBHOOK_SECRET", secret)
    for step in (lambda sink: sink.is_configured(), lambda sink: sink.deliver(EVENT)):
        with pytest.raises(SettingsError) as caught:
            step(Webhook())
        assert caught.value.code == code
        assert "hidden" not in caught.value.with_hint()
        assert "hunter2" not in caught.value.with_hint()


@pytest.mark.parametrize("url", ["https://10.0.0.5/in", "https://hooks.internal:8443/in", "http://localhost:9/in"])
def test_the_operators_own_network_may_be_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUROSKY_WEBHOOK_URL", url)
    monkeypatch.setenv("EUROSKY_WEBHOOK_SECRET", SECRET)
    assert Webhook().is_configured() is True


def test_on_a_test_network_plain_http_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUROSKY_WEBHOOK_URL", "http://hooks.example/in")
    monkeypatch.setenv("EUROSKY_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("EUROSKY_ALLOW_PRIVATE_HOSTS", "true")
    assert Webhook().is_configured() is True


def test_a_proxy_that_cannot_be_used_is_a_reason_to_wait(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "gopher://proxy.example")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(TransientError, match="proxy"):
        deliver()


def test_the_log_names_no_account_and_is_its_owners_alone(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "eurosky_pipeline.events")
    for number in (17, 18):
        LogSink().deliver(replace(EVENT, id=number))
    path = home / LOG_NAME
    lines = path.read_text("utf-8").splitlines()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [json.loads(line)["id"] for line in lines] == [17, 18]
    assert json.loads(lines[0])["state_after"] == "failed"
    assert caplog.messages == lines
    for name in ("ewvi7nxz", "alice"):
        assert name not in path.read_text("utf-8")


def test_a_full_log_makes_room_and_keeps_some_older_ones(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_sink, "MAX_LOG_BYTES", 10)
    for number in range(8):
        LogSink().deliver(replace(EVENT, id=number))
    names = sorted(path.name for path in home.iterdir())
    assert names == ["events.jsonl", *(f"events.jsonl.{number}" for number in range(1, 5))]
    assert json.loads((home / LOG_NAME).read_text())["id"] == 7
    assert json.loads((home / "events.jsonl.4").read_text())["id"] == 3


def test_a_log_that_cannot_be_written_or_leads_elsewhere_is_tried_again(home: Path) -> None:
    (home / LOG_NAME).symlink_to(home / "elsewhere")
    with pytest.raises(TransientError, match="cannot be written") as caught:
        LogSink().deliver(EVENT)
    assert isinstance(caught.value, EuroskyError)
    assert not (home / "elsewhere").exists()
