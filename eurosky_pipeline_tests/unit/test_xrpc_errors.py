"""From an answer, or the lack of one, to a type: the table, and what a server may not smuggle into a message."""

import html
import inspect
import json
import time
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import httpx
import pytest

from eurosky_pipeline.errors import EuroskyError, TransientError
from eurosky_pipeline.xrpc import errors
from eurosky_pipeline.xrpc.answers import RULES, Rule, _rule_for, error_for_answer, is_token_refused
from eurosky_pipeline.xrpc.errors import (
    AccountRefused,
    AuthError,
    BlobNotFound,
    BlobTakenDown,
    BlobTooLarge,
    HostUnreachable,
    RateLimited,
    RepoUnavailable,
    RequestRefused,
    ServerFault,
    error_for_transport,
    told_by_host,
)
from eurosky_pipeline.xrpc.rate_limit import MAX_RETRY_AFTER_S, retry_after_s

GET_REPO = "com.atproto.sync.getRepo"
GET_BLOB = "com.atproto.sync.getBlob"
UPLOAD_BLOB = "com.atproto.repo.uploadBlob"
IMPORT_REPO = "com.atproto.repo.importRepo"
CREATE_SESSION = "com.atproto.server.createSession"
REFRESH_SESSION = "com.atproto.server.refreshSession"

CREATE_ACCOUNT = "com.atproto.server.createAccount"
SERVICE_AUTH = "com.atproto.server.getServiceAuth"
SIGN_PLC = "com.atproto.identity.signPlcOperation"
ACTIVATE = "com.atproto.server.activateAccount"
APPLY_WRITES = "com.atproto.repo.applyWrites"

ANSWERS: list[tuple[int, str, str, str, type[EuroskyError], str]] = [
    # status, name, text, endpoint, error, code
    # blobs
    (400, "InvalidRequest", "Blob not found", GET_BLOB, BlobNotFound, "missing_at_source"),  # the reference PDS
    (404, "BlobNotFound", "", GET_BLOB, BlobNotFound, "missing_at_source"),  # others
    (404, "", "", GET_BLOB, BlobNotFound, "missing_at_source"),
    (400, "InvalidRequest", "Blob not found", UPLOAD_BLOB, RequestRefused, "request_refused"),
    (413, "PayloadTooLarge", "request entity too large", UPLOAD_BLOB, BlobTooLarge, "too_large"),
    (413, "", "", UPLOAD_BLOB, BlobTooLarge, "too_large"),
    (400, "BlobTooLarge", "This file is too large", UPLOAD_BLOB, BlobTooLarge, "too_large"),
    (400, "InvalidRequest", "Blob has been takendown, cannot re-upload", UPLOAD_BLOB, BlobTakenDown, "taken_down"),
    (400, "InvalidRequest", "Blob was taken down", GET_BLOB, BlobTakenDown, "taken_down"),
    (503, "", "taken down for maintenance", GET_BLOB, ServerFault, "server_fault"),
    (401, "AuthMissing", "Authentication Required", GET_BLOB, RequestRefused, "blob_refused"),
    (403, "Forbidden", "not for you", GET_BLOB, RequestRefused, "blob_refused"),
    # the account, its password, its tokens
    (401, "", "Account has been taken down", CREATE_SESSION, AuthError, "account_taken_down"),
    (401, "AccountTakedown", "Account has been taken down", CREATE_SESSION, AuthError, "account_taken_down"),
    (401, "AuthenticationRequired", "Invalid identifier or password", CREATE_SESSION, AuthError, "wrong_password"),
    (401, "AuthFactorTokenRequired", "A code was sent", CREATE_SESSION, AuthError, "auth_factor_required"),
    (401, "AuthenticationRequired", "Authentication Required", UPLOAD_BLOB, AuthError, "auth"),
    (400, "ExpiredToken", "Token has expired", REFRESH_SESSION, AuthError, "session_expired"),
    (400, "InvalidToken", "Token could not be verified", UPLOAD_BLOB, AuthError, "session_invalid"),
    (401, "AccountDeactivated", "Account is deactivated", UPLOAD_BLOB, AuthError, "account_deactivated"),
    (403, "AccountNotFound", "Account not found", IMPORT_REPO, AuthError, "account_not_found"),
    (403, "Forbidden", "", IMPORT_REPO, AuthError, "forbidden"),
    (400, "InvalidToken", "Bad token scope", IMPORT_REPO, AuthError, "app_password"),
    (400, "InvalidToken", "Bad token scope", SIGN_PLC, AuthError, "app_password"),
    (403, "", "Bad token scope", IMPORT_REPO, AuthError, "app_password"),
    (
        *(400, "InvalidRequest", f"insufficient access to request a service auth token for: {CREATE_ACCOUNT}"),
        *(SERVICE_AUTH, AuthError, "app_password"),
    ),
    (400, "InvalidToken", "Token is invalid", SIGN_PLC, AuthError, "mailed_token_invalid"),
    (400, "ExpiredToken", "Token is expired", SIGN_PLC, AuthError, "mailed_token_expired"),
    (400, "ExpiredToken", "Token has expired", SIGN_PLC, AuthError, "session_expired"),
    (401, "JwtExpired", "jwt expired", CREATE_ACCOUNT, AuthError, "service_auth_expired"),
    (401, "BadJwtAudience", "jwt audience does not match", CREATE_ACCOUNT, AuthError, "service_auth_refused"),
    (401, "BadJwtLexiconMethod", "bad jwt lexicon method", CREATE_ACCOUNT, AuthError, "service_auth_refused"),
    (401, "BadJwtSignature", "jwt signature does not match", CREATE_ACCOUNT, AuthError, "service_auth_refused"),
    (
        *(401, "AuthenticationRequired", "Missing auth to create account with did: did:plc:x"),
        *(CREATE_ACCOUNT, AuthError, "service_auth_refused"),
    ),
    # an account to be opened, or activated
    (400, "AlreadyExists", "Repo already exists", CREATE_ACCOUNT, AccountRefused, "account_exists"),
    (400, "InvalidInviteCode", "No invite code provided", CREATE_ACCOUNT, AccountRefused, "invite_code_invalid"),
    (400, "HandleNotAvailable", "Reserved handle", CREATE_ACCOUNT, AccountRefused, "handle_taken"),
    (400, "InvalidRequest", "Handle already taken: a.test", CREATE_ACCOUNT, AccountRefused, "handle_taken"),
    (400, "InvalidRequest", "Email already taken: a@b.example", CREATE_ACCOUNT, AccountRefused, "email_taken"),
    (500, "InternalServerError", "Internal Server Error", CREATE_ACCOUNT, ServerFault, "account_not_opened"),
    (400, "InvalidRequest", "This email address is not supported", CREATE_ACCOUNT, AccountRefused, "email_refused"),
    (400, "InvalidHandle", "Handle too short", CREATE_ACCOUNT, AccountRefused, "handle_refused"),
    (400, "UnsupportedDomain", "Not a supported domain", CREATE_ACCOUNT, AccountRefused, "handle_refused"),
    (
        *(400, "InvalidRequest", "External handle did not resolve to DID"),
        *(CREATE_ACCOUNT, AccountRefused, "handle_refused"),
    ),
    (400, "InvalidHandle", "not a handle", "com.atproto.identity.resolveHandle", RequestRefused, "request_refused"),
    (400, "IncompatibleDidDoc", "endpoint differs", CREATE_ACCOUNT, AccountRefused, "did_document_differs"),
    (
        *(400, "InvalidRequest", "Server rotation key not included in PLC DID data"),
        *(ACTIVATE, AccountRefused, "did_document_differs"),
    ),
    # the repository
    (400, "RepoNotFound", "Could not find repo for DID: did:plc:x", GET_REPO, RepoUnavailable, "repo_not_found"),
    (400, "InvalidRequest", "Could not find repo for DID: did:plc:x", GET_REPO, RepoUnavailable, "repo_not_found"),
    (404, "NotFound", "could not find Repo", "com.atproto.sync.listBlobs", RepoUnavailable, "repo_not_found"),
    (400, "InvalidRequest", "Could not find repo: alice", IMPORT_REPO, RequestRefused, "request_refused"),
    (400, "RepoDeactivated", "Repo has been deactivated", GET_REPO, RepoUnavailable, "repo_deactivated"),
    (400, "RepoTakendown", "Repo has been takendown", GET_REPO, RepoUnavailable, "repo_taken_down"),
    (400, "RepoSuspended", "Repo has been suspended", GET_REPO, RepoUnavailable, "repo_suspended"),
    (400, "RepoDeactivated", "Repo has been deactivated", GET_BLOB, RepoUnavailable, "repo_deactivated"),
    # its import
    (500, "InternalServerError", "Internal Server Error", IMPORT_REPO, ServerFault, "import_failed"),
    (400, "InvalidRequest", "Could not parse record at 'a.b.c/d'", IMPORT_REPO, RequestRefused, "record_refused"),
    (400, "InvalidRequest", "Service is not accepting repo imports", IMPORT_REPO, RequestRefused, "imports_closed"),
    (413, "PayloadTooLarge", "request entity too large", IMPORT_REPO, RequestRefused, "import_too_large"),
    (400, "InvalidRequest", "Input must have exactly one root", IMPORT_REPO, RequestRefused, "request_refused"),
    (400, "InvalidRequest", "Repo was taken down", IMPORT_REPO, RequestRefused, "request_refused"),
    (
        *(400, "InvalidRequest", "Wrong request encoding (Content-Type): text/plain"),
        *(IMPORT_REPO, RequestRefused, "content_type_refused"),
    ),
    (415, "", "", IMPORT_REPO, RequestRefused, "content_type_refused"),
    # whatever else a status says
    (404, "", "", GET_REPO, RequestRefused, "not_a_pds"),
    (501, "MethodNotImplemented", "Method Not Implemented", IMPORT_REPO, RequestRefused, "not_a_pds"),
    (413, "", "", APPLY_WRITES, RequestRefused, "request_too_large"),
    (418, "", "", GET_REPO, RequestRefused, "request_refused"),
    (302, "", "", GET_REPO, RequestRefused, "redirected"),
    (429, "RateLimitExceeded", "Rate Limit Exceeded", UPLOAD_BLOB, RateLimited, "rate_limited"),
    (429, "ExpiredToken", "", UPLOAD_BLOB, RateLimited, "rate_limited"),
    (400, "RateLimitExceeded", "", UPLOAD_BLOB, RateLimited, "rate_limited"),
    (500, "InternalServerError", "Internal Server Error", UPLOAD_BLOB, ServerFault, "server_fault"),
    (502, "", "", GET_BLOB, ServerFault, "server_fault"),
    (503, "", "Service Unavailable", GET_REPO, ServerFault, "server_fault"),
    (504, "UpstreamTimeout", "", UPLOAD_BLOB, ServerFault, "server_fault"),
    (408, "", "", UPLOAD_BLOB, ServerFault, "server_fault"),
]


@pytest.mark.parametrize(("status", "name", "text", "nsid", "kind", "code"), ANSWERS)
def test_an_answer_becomes_the_error_that_says_who_retries(
    status: int, name: str, text: str, nsid: str, kind: type[EuroskyError], code: str
) -> None:
    error = error_for_answer(status, {"error": name, "message": text}, host="pds.example", nsid=nsid)
    assert type(error) is kind
    assert error.code == code
    assert "pds.example" in error.message
    assert nsid in error.message


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_every_row_of_the_table_is_the_first_that_fits_some_answer(rule: Rule) -> None:
    met = [_rule_for(status, {"error": name, "message": text}, nsid) for status, name, text, nsid, *_ in ANSWERS]
    assert any(found is rule for found in met)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_every_row_tells_a_person_what_to_do(rule: Rule) -> None:
    assert rule.hint.format(host="pds.example", nsid=GET_REPO)
    assert all(piece == piece.lower() for piece in rule.says)  # it is compared with the message in lower case


def test_the_table_knows_an_answer_for_every_status_and_reaches_every_class_that_an_answer_can_be() -> None:
    kinds = {
        type(error_for_answer(status, {}, host="h", nsid=nsid)) for status in range(300, 600) for nsid in ("a", "b")
    }
    assert kinds >= {RequestRefused, RateLimited, AuthError, ServerFault}
    own = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__}
    assert {rule.kind for rule in RULES} == own - {HostUnreachable, errors.AnswerInvalid}


@pytest.mark.parametrize(
    ("status", "name", "text", "nsid", "is_renewed"),
    [
        (401, "AuthenticationRequired", "", UPLOAD_BLOB, True),
        (401, "", "", GET_BLOB, False),  # or 200 blobs kept back are 200 logins
        (400, "ExpiredToken", "Token has expired", UPLOAD_BLOB, True),
        (400, "ExpiredToken", "Token has expired", SIGN_PLC, True),
        (400, "InvalidToken", "Token could not be verified", UPLOAD_BLOB, True),
        (400, "InvalidToken", "Bad token scope", IMPORT_REPO, False),  # a new session has the same scope
        (400, "ExpiredToken", "Token is expired", SIGN_PLC, False),  # the one from the mail
        (401, "AccountDeactivated", "", UPLOAD_BLOB, False),
        (401, "AccountTakedown", "", UPLOAD_BLOB, False),
        (401, "AuthenticationRequired", "", CREATE_SESSION, False),
        (403, "", "", UPLOAD_BLOB, False),
        (429, "ExpiredToken", "", UPLOAD_BLOB, False),
        (500, "InternalServerError", "", UPLOAD_BLOB, False),
    ],
)
def test_a_session_is_renewed_only_where_a_new_token_can_help(
    status: int, name: str, text: str, nsid: str, is_renewed: bool
) -> None:
    assert is_token_refused(status, {"error": name, "message": text}, nsid) is is_renewed


@pytest.mark.parametrize("status", [500, 503])
def test_a_host_that_failed_may_say_when_it_is_back_but_the_limits_reset_is_not_that(status: int) -> None:
    reset = {"ratelimit-reset": str(int(time.time()) + 80_000)}
    for headers, expected_s in [(reset, None), ({**reset, "retry-after": "7"}, 7.0), ({}, None)]:
        error = error_for_answer(status, {}, host="h", nsid=UPLOAD_BLOB, headers=headers)
        assert isinstance(error, TransientError)
        assert error.retry_after_s == expected_s


@pytest.mark.parametrize("body", [{}, {"error": None, "message": 7}, {"error": ["x"], "message": {"a": 1}}])
def test_an_answer_without_a_reason_says_so(body: dict[str, object]) -> None:
    error = error_for_answer(400, body, host="pds.example", nsid=GET_REPO)
    assert error.message == f"pds.example answered 400 to {GET_REPO} (no reason given)"


def test_a_redirect_names_where_it_points() -> None:
    headers = {"location": "https://elsewhere.example/xrpc"}
    error = error_for_answer(301, {}, host="pds.example", nsid=GET_REPO, headers=headers)
    assert error.message == f"pds.example redirects {GET_REPO} to https://elsewhere.example/xrpc; " + (
        "redirects are not followed"
    )


@pytest.mark.parametrize(
    ("headers", "expected_s"),
    [
        ({"retry-after": "30"}, 30.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "7", "ratelimit-reset": "99999999999"}, 7.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}, MAX_RETRY_AFTER_S),
        ({"retry-after": "Wed, 99 Oct 2026"}, None),
        ({"retry-after": "1e300"}, MAX_RETRY_AFTER_S),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"ratelimit-reset": "1e999"}, None),
        ({"ratelimit-reset": "soon"}, None),
        ({"ratelimit-reset": "1000000000"}, 0.0),
        ({"ratelimit-reset": "42"}, 42.0),
        ({}, None),
    ],
)
def test_the_wait_is_read_from_the_headers_or_unknown(headers: dict[str, str], expected_s: float | None) -> None:
    assert retry_after_s(headers) == expected_s


@pytest.mark.parametrize("unusable", [{}, {"retry-after": "later"}, {"retry-after": "inf"}])
def test_the_reset_is_a_moment_in_unix_seconds(unusable: dict[str, str]) -> None:
    reset = str(int(time.time()) + 600)
    error = error_for_answer(429, {}, host="h", nsid=UPLOAD_BLOB, headers={**unusable, "ratelimit-reset": reset})
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == pytest.approx(600, abs=5)


def test_a_servers_text_is_one_short_printable_line() -> None:
    text = "\x1b[31mred\x1b[0m\r\nFATAL forged line\x00\u202e\ud800" + "x" * 10_000
    body = {"error": "Bad\nName", "message": text}
    message = error_for_answer(400, body, host="pds.example", nsid=GET_REPO).message
    assert message.isprintable()
    assert "Bad Name: " in message
    assert "red" in message
    assert len(message) < 400
    message.encode()


@pytest.mark.parametrize("place", ["error", "message", "location"])
@pytest.mark.parametrize("padding", ["", "x" * 281], ids=["whole", "cut through"])
def test_what_the_host_was_given_in_confidence_is_not_repeated(place: str, padding: str) -> None:
    secret = "correct-horse-battery"
    said = f"{padding} you sent {secret} and {secret}"
    status = 302 if place == "location" else 401
    error = error_for_answer(
        status, {place: said}, host="h", nsid=CREATE_SESSION, headers={place: said}, hidden=["", "horse", secret]
    )
    assert "correct" not in error.with_hint()
    assert "…" in error.message


@pytest.mark.parametrize("secret", ["correct horse/battery+ü", "s3cret", "hunter\"two\\<é&'"])
def test_a_secret_is_hidden_however_it_is_spelled(secret: str) -> None:
    data = secret.encode()
    spellings = {
        *(secret, quote(secret), quote(secret, safe=""), quote_plus(secret), data.hex(), data.hex().upper()),
        *(json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr(secret), data.decode("latin-1")),
        *(html.escape(secret), html.escape(secret, quote=False)),
        *(b64encode(data).decode(), b64encode(data).decode().rstrip("="), urlsafe_b64encode(data).decode()),
    }
    for spelling in spellings:
        assert spelling.rstrip("=").strip("\"'") not in told_by_host(f"you sent {spelling}, did you not?", [secret])


def test_hiding_a_secret_does_not_change_what_the_answer_means() -> None:
    error = error_for_answer(400, {"message": "Blob not found"}, host="h", nsid=GET_BLOB, hidden=["not"])
    assert isinstance(error, BlobNotFound)
    assert "Blob … found" in error.message


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (httpx.ConnectTimeout("t"), "could not be reached in time (t)"),
        (httpx.ConnectError("refused"), "could not be connected to (refused)"),
        (httpx.ReadTimeout("t"), "stopped answering (t)"),
        (httpx.WriteTimeout("t"), "stopped answering (t)"),
        (httpx.PoolTimeout("t"), "stopped answering (t)"),
        (
            httpx.RemoteProtocolError("peer closed connection: 3 of 9"),
            "broke off its answer (peer closed connection: 3 of 9)",
        ),
        (httpx.RemoteProtocolError("illegal status line: bytearray(b'ERR p4ssword')"), "broke off its answer"),
        (httpx.ReadError("\x1b[31m\n"), "broke the connection ([31m)"),
        (httpx.ProxyError("p"), "broke the connection (p)"),
        (httpx.LocalProtocolError("Illegal header value b'Bearer t0ken'"), "broke the connection"),
    ],
)
def test_a_connection_that_fails_is_told_in_words_and_may_be_tried_again(fault: httpx.HTTPError, reason: str) -> None:
    error = error_for_transport(fault, host="pds.example", nsid=GET_REPO)
    asked = f" when asked for {GET_REPO}"
    words, _, detail = reason.partition(" (")
    assert error.message == f"pds.example {words}{asked}{f' ({detail}' if detail else ''}"


def test_every_transport_error_of_httpx_is_mapped() -> None:
    kinds = [kind for kind in vars(httpx).values() if inspect.isclass(kind) and issubclass(kind, httpx.TransportError)]
    assert len(kinds) > 10
    for kind in kinds:
        assert type(error_for_transport(kind("x"), host="h", nsid=GET_REPO)) is HostUnreachable
