"""From an HTTP answer to a type in the error tree: one table, `RULES`. This happens here and nowhere else.

Its rows follow the reference PDS, and others where they differ. Their oddities are many: a missing blob is 400
`InvalidRequest` on one server and 404 `BlobNotFound` on another, an expired token is 400 and not 401, an app password
looks like a bad token, a token that is no token is 500, and so is a handle that a deactivated account has.

Spec: https://atproto.com/specs/xrpc#error-responses
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from eurosky_pipeline.errors import EuroskyError, TransientError
from eurosky_pipeline.xrpc.errors import (
    AccountRefused,
    AuthError,
    BlobNotFound,
    BlobTakenDown,
    BlobTooLarge,
    RateLimited,
    RepoUnavailable,
    RequestRefused,
    ServerFault,
    told_by_host,
)
from eurosky_pipeline.xrpc.rate_limit import retry_after_s


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table: the answers that it is about, and what they mean.

    Args:
        kind, code, hint: the error; `{host}` and `{nsid}` in the hint are filled in.
        status: HTTP statuses; None is any.
        names: values of the answer's `error`, one of which it must have; "" is an answer without one.
        says: pieces of the answer's `message`, in lower case, one of which it must hold.
        at: patterns, one of which the endpoint's NSID must match.
        is_renewable: a session's access token is to be renewed, and the request made once more.
        is_for_account: the account may be let in: who asked without a session is to open one, and to ask once more.
    """

    kind: type[EuroskyError]
    code: str
    hint: str
    status: Container[int] | None = None
    names: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    at: tuple[str, ...] = ("*",)
    is_renewable: bool = False
    is_for_account: bool = False

    def fits(self, status: int, name: str, message: str, nsid: str) -> bool:
        return (
            (self.status is None or status in self.status)
            and (not self.names or name in self.names)
            and (not self.says or any(piece in message for piece in self.says))
            and any(fnmatchcase(nsid, pattern) for pattern in self.at)
        )


_GET_BLOB, _ANY_BLOB, _SYNC = ("*.getBlob",), ("*Blob",), ("com.atproto.sync.*",)
_LOG_IN, _OPEN, _ACTIVATE = ("*.createSession",), ("*.createAccount",), ("*.activateAccount",)
_NAMED = ("*.createAccount", "*.updateHandle")
_IMPORT, _MAILED = ("*.importRepo",), ("*.signPlcOperation", "*.deleteAccount")
_DOWN = ("takendown", "taken down")

_BAD_JWT = (
    *("BadJwt", "BadJwtAudience", "BadJwtIss", "BadJwtLexiconMethod", "BadJwtSignature", "BadJwtType"),
    *("MissingJwt", "UntrustedIss"),
)

_WAIT = "wait, then run it again"
_MODERATORS = "the host's moderators have to lift this first"
_NEW_SESSION = "run the migration again; a new session will be opened"
_MAIN_PASSWORD = "use the account's main password, not an app password"  # noqa: S105
_WRONG_HOST = "check the DID, and that this is the host that holds the account now"
_CREDENTIALS = (
    "check the password, and that the account exists on this host (create it there, deactivated, first); "
    "then give it anew with `eurosky migrations retry`"
)
_AGAIN = "the session or the password has been revoked; give a new one with `eurosky migrations retry`"
_UPLOAD_LIMIT = "the destination's operator can raise its upload limit"
_TAKEN = "choose another one; on this host an account, perhaps a deactivated one, has it"
_LOST = "the host has lost this blob; nobody can fetch it from there"
_KEPT_BACK = "the host keeps this one blob back; ask its operator"
_CONTENT_TYPE = "the host does not take what the protocol prescribes; ask its operator"
_NOT_A_PDS = "is {host} really a Personal Data Server? It does not know {nsid}"
_IMPORT_FAILED = (
    "try again later; the reference PDS says this also of a repository that it cannot read: "
    "`eurosky car inspect` on the exported file tells whether it is whole"
)
_OPEN_FAILED = "try again later; the reference PDS says so, too, where a deactivated account has the handle or e-mail"
_DID = "the DID document has to name this host, its key and the handle first"

RULES: tuple[Rule, ...] = (
    Rule(RequestRefused, "redirected", "give the host that really holds the account", range(300, 400)),
    Rule(RateLimited, "rate_limited", _WAIT, (429,)),
    Rule(RateLimited, "rate_limited", _WAIT, names=("RateLimitExceeded",)),
    # the repository
    Rule(RepoUnavailable, "repo_not_found", _WRONG_HOST, names=("RepoNotFound",)),
    Rule(RepoUnavailable, "repo_not_found", _WRONG_HOST, says=("could not find repo",), at=_SYNC),
    Rule(
        RepoUnavailable,
        "repo_deactivated",
        "give the account's password with --source-password-env",
        names=("RepoDeactivated",),
        is_for_account=True,
    ),
    Rule(RepoUnavailable, "repo_taken_down", _MODERATORS, names=("RepoTakendown",), is_for_account=True),
    Rule(RepoUnavailable, "repo_suspended", _MODERATORS, names=("RepoSuspended",), is_for_account=True),
    # who we are: the account, then the password, then the tokens
    Rule(AuthError, "account_taken_down", _MODERATORS, names=("AccountTakedown",)),
    Rule(AuthError, "account_taken_down", _MODERATORS, (401,), says=_DOWN, at=_LOG_IN),
    Rule(AuthError, "account_deactivated", "log in with the account's own credentials", names=("AccountDeactivated",)),
    Rule(AuthError, "account_not_found", _WRONG_HOST, names=("AccountNotFound",)),
    Rule(
        AuthError,
        "auth_factor_required",
        "the account has e-mail two-factor login; switch it off for the migration",
        names=("AuthFactorTokenRequired",),
    ),
    Rule(AuthError, "app_password", _MAIN_PASSWORD, says=("bad token scope", "app passwords are not allowed")),
    Rule(AuthError, "app_password", _MAIN_PASSWORD, says=("insufficient access",), at=("*.getServiceAuth",)),
    Rule(AuthError, "wrong_password", _CREDENTIALS, (401,), at=_LOG_IN),
    Rule(
        AuthError,
        "mailed_token_expired",
        "ask for a new mail, and use its token within 15 minutes",
        names=("ExpiredToken",),
        says=("token is expired",),
        at=_MAILED,
    ),
    Rule(
        AuthError,
        "mailed_token_invalid",
        "use the token of the newest mail, once",
        names=("InvalidToken",),
        says=("token is invalid",),
        at=_MAILED,
    ),
    Rule(AuthError, "session_expired", _NEW_SESSION, names=("ExpiredToken",), is_renewable=True),
    Rule(AuthError, "session_invalid", _NEW_SESSION, names=("InvalidToken",), is_renewable=True),
    Rule(
        AuthError,
        "service_auth_expired",
        "run it again; the proof for the new host is made anew",
        names=("JwtExpired",),
    ),
    Rule(
        AuthError,
        "service_auth_refused",
        "check that the source is the account's host now, and that its DID document still names the source's key",
        names=_BAD_JWT,
    ),
    Rule(
        AuthError,
        "service_auth_refused",
        "check that the source is the account's host now",
        (401,),
        says=("missing auth to create account",),
        at=_OPEN,
    ),
    # an account to be opened, or activated
    Rule(
        AccountRefused, "account_exists", "log in there with its password instead", names=("AlreadyExists",), at=_OPEN
    ),
    Rule(AccountRefused, "invite_code_invalid", "ask the host for a code that works", names=("InvalidInviteCode",)),
    Rule(AccountRefused, "handle_taken", _TAKEN, names=("HandleNotAvailable",), at=_NAMED),
    Rule(AccountRefused, "handle_taken", _TAKEN, says=("handle already taken",)),
    Rule(AccountRefused, "email_taken", _TAKEN, says=("email already taken",)),
    Rule(
        AccountRefused,
        "email_refused",
        "give an address that the host accepts; it turns throw-away ones down",
        says=("email address is not supported", "email is required"),
        at=_OPEN,
    ),
    Rule(
        AccountRefused,
        "handle_refused",
        "choose one of the host's own domains, or a domain that names this DID",
        names=("InvalidHandle", "UnsupportedDomain"),
        at=_NAMED,
    ),
    Rule(
        AccountRefused,
        "handle_refused",
        "choose one of the host's own domains, or a domain that names this DID",
        says=("external handle did not resolve",),
        at=_OPEN,
    ),
    Rule(AccountRefused, "did_document_differs", _DID, names=("IncompatibleDidDoc",)),
    Rule(
        AccountRefused,
        "did_document_differs",
        _DID,
        (400,),
        says=("rotation key", "did document", "did doc"),
        at=_ACTIVATE,
    ),
    Rule(ServerFault, "account_not_opened", _OPEN_FAILED, (500,), at=_OPEN),
    # the import of a repository
    Rule(
        RequestRefused, "import_too_large", "the destination's operator can raise its import limit", (413,), at=_IMPORT
    ),
    Rule(
        RequestRefused,
        "imports_closed",
        "ask the host's operator to accept imports",
        says=("not accepting repo",),
        at=_IMPORT,
    ),
    Rule(
        RequestRefused,
        "record_refused",
        "the host does not take this record; correct or delete it at the source, then run it again",
        says=("could not parse record",),
        at=_IMPORT,
    ),
    Rule(ServerFault, "import_failed", _IMPORT_FAILED, (500,), at=_IMPORT),
    # blobs
    Rule(BlobTooLarge, "too_large", _UPLOAD_LIMIT, (413,), at=_ANY_BLOB),
    Rule(BlobTooLarge, "too_large", _UPLOAD_LIMIT, names=("PayloadTooLarge", "BlobTooLarge"), at=_ANY_BLOB),
    Rule(BlobTakenDown, "taken_down", _MODERATORS, range(400, 500), says=_DOWN, at=_ANY_BLOB),
    Rule(BlobNotFound, "missing_at_source", _LOST, names=("BlobNotFound",)),
    Rule(BlobNotFound, "missing_at_source", _LOST, (404,), at=_GET_BLOB),
    Rule(BlobNotFound, "missing_at_source", _LOST, says=("blob not found",), at=_GET_BLOB),
    Rule(RequestRefused, "blob_refused", _KEPT_BACK, (401,), at=_GET_BLOB, is_for_account=True),
    Rule(RequestRefused, "blob_refused", _KEPT_BACK, (403,), at=_ANY_BLOB),
    # whatever else a status says
    Rule(RequestRefused, "content_type_refused", _CONTENT_TYPE, (415,)),
    Rule(RequestRefused, "content_type_refused", _CONTENT_TYPE, says=("wrong request encoding",)),
    Rule(AuthError, "auth", _AGAIN, (401,), is_renewable=True, is_for_account=True),
    Rule(AuthError, "forbidden", _MAIN_PASSWORD, (403,)),
    Rule(RequestRefused, "not_a_pds", _NOT_A_PDS, (501,)),
    Rule(RequestRefused, "not_a_pds", _NOT_A_PDS, (404,), names=("",)),
    Rule(RequestRefused, "request_too_large", "the host's operator can raise its limit", (413,)),
    Rule(ServerFault, "server_fault", "the host failed; try again later, or ask its operator", (408, *range(500, 600))),
    Rule(RequestRefused, "request_refused", "the host's own words are all there is; ask its operator"),
)
"""From top to bottom: the first row that fits is taken, so what is particular stands above what is general."""


def error_for_answer(
    status: int,
    body: Mapping[str, object],
    *,
    host: str,
    nsid: str,
    headers: Mapping[str, str] | None = None,
    hidden: Iterable[str] = (),
) -> EuroskyError:
    """The typed error for an answer that is not a success.

    Args:
        status: HTTP status, outside 200–299.
        body: the decoded JSON body, `{"error": name, "message": text}` by the XRPC specification; may be empty.
        host: the host that answered, for the message.
        nsid: the endpoint that was asked, for the message.
        headers: of the answer, lower-case names; read for rate limits.
        hidden: secrets that the host was given, and must not be repeated if it repeats them.
    """
    headers, hidden = headers or {}, tuple(hidden)
    rule = _rule_for(status, body, nsid)
    if 300 <= status < 400:
        target = told_by_host(headers.get("location"), hidden) or "elsewhere"
        what = f"{host} redirects {nsid} to {target}; redirects are not followed"
    else:
        said = ": ".join(filter(None, (told_by_host(body.get(key), hidden) for key in ("error", "message"))))
        what = f"{host} answered {status} to {nsid} ({said or 'no reason given'})"
    hint = rule.hint.format(host=host, nsid=nsid)
    if not issubclass(rule.kind, TransientError):
        return rule.kind(what, code=rule.code, hint=hint)
    # the reset of the limit stands on every answer, and says nothing of when a host that failed is well again
    told = headers if rule.kind is RateLimited else {key: headers[key] for key in ("retry-after",) if key in headers}
    return rule.kind(what, code=rule.code, hint=hint, retry_after_s=retry_after_s(told))


def is_token_refused(status: int, body: Mapping[str, object], nsid: str) -> bool:
    """Whether the answer says that the session's access token has to be renewed."""
    return _rule_for(status, body, nsid).is_renewable


def is_account_asked_for(status: int, body: Mapping[str, object], nsid: str) -> bool:
    """Whether a request without a session was refused, and the account itself might be let in."""
    return _rule_for(status, body, nsid).is_for_account


def is_rate_limit(status: int, body: Mapping[str, object], nsid: str) -> bool:
    """Whether the answer says that the host was asked too often; not all do so with 429."""
    return _rule_for(status, body, nsid).kind is RateLimited


def _rule_for(status: int, body: Mapping[str, object], nsid: str) -> Rule:
    name, message = (value if isinstance(value, str) else "" for value in (body.get("error"), body.get("message")))
    return next(rule for rule in RULES if rule.fits(status, name, message.lower(), nsid))
