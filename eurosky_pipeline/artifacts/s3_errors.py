"""What can go wrong with S3, as errors of our tree: what happened, where, and who tries again.

The texts are our own. What a server, or a library, says may hold a signed address or a key's name, and is not repeated
but for S3's own short code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import aiohttp
import botocore.exceptions as boto
from fsspec.exceptions import FSTimeoutError

from eurosky_pipeline.errors import EuroskyError, FatalError, TransientError

_BUSY = {
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequests",
    "BandwidthLimitExceeded",
}
_LATER = {"InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted", "IncompleteBody", "BadDigest"}
_NO_BUCKET = {"NoSuchBucket", "InvalidBucketName"}
_WRONG_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}
_BAD_KEYS = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "RequestTimeTooSkewed",
}
_REPLACED = {"PreconditionFailed", "412"}
_GONE = {"404", "NoSuchKey", "NoSuchUpload", "NoSuchVersion"}
_REFUSED = {"403", "AccessDenied", "AllAccessDisabled", "AccountProblem", "NotSignedUp"}
_CODE = re.compile(r"[A-Za-z0-9]{1,48}", re.ASCII)
_KEYS_HINT = (
    "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or AWS_PROFILE, and this machine's clock"
)
_LATER_HINT = "check that the store is up, then run it again"
_TRANSPORT = (boto.HTTPClientError, boto.ConnectionError, aiohttp.ClientError, FSTimeoutError, TimeoutError)
_FAULTS = (*_TRANSPORT, boto.BotoCoreError, boto.ClientError, OSError, ValueError)


@contextmanager
def s3_errors_named(uri: str, endpoint: Callable[[], str]) -> Iterator[None]:
    """Tell whatever S3 and its libraries raise in the block as one error that says what is the matter.

    Args:
        uri: the address that is worked on.
        endpoint: what is spoken to, as `host[:port]`; asked for only if something is wrong.
    """
    try:
        yield
    except EuroskyError:
        raise
    except _FAULTS as error:
        raise _error_for(error, uri, endpoint) from None


def s3_code(error: BaseException | None) -> str:
    """S3's own code of an answer (`NoSuchKey`; for a HEAD, which has no body, the HTTP status), or empty."""
    while error is not None:
        if isinstance(error, boto.ClientError):
            code = str(error.response.get("Error", {}).get("Code", ""))
            return code if _CODE.fullmatch(code) else "unknown"
        error = error.__cause__
    return ""


def is_gone(error: BaseException) -> bool:
    return s3_code(error) in _GONE


def is_refused(error: BaseException) -> bool:
    """Whether the store does not allow, or does not know, what it was asked to do."""
    return s3_code(error) in _REFUSED | {"NotImplemented", "MethodNotAllowed", "501", "405"}


def host_of(url: str) -> str:
    """`host[:port]` of an endpoint, without the credentials that might stand before it."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2][:200] or "S3"
    except ValueError:
        return "S3"


def _error_for(error: BaseException, uri: str, endpoint: Callable[[], str]) -> EuroskyError:
    code = s3_code(error)
    if code:
        return _answered(code, uri)
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError | boto.CredentialRetrievalError):
        return _fatal(f"there are no keys for {uri}", _KEYS_HINT)
    if isinstance(error, boto.SSLError):
        return _fatal(
            f"{endpoint()} does not speak https as it should, when asked for {uri}",
            "check AWS_ENDPOINT_URL and AWS_CA_BUNDLE",
        )
    if isinstance(error, _TRANSPORT):
        return _transient(f"{endpoint()} could not be reached, or broke off, when asked for {uri}", _LATER_HINT)
    hint = "check AWS_ENDPOINT_URL, AWS_REGION, AWS_PROFILE and the files that they name"
    return _fatal(f"{uri} cannot be used as this machine is set up: {type(error).__name__}", hint)


def _answered(code: str, uri: str) -> EuroskyError:
    bucket = "/".join(uri.split("/")[:3])
    if code in _BUSY:
        return _transient(
            f"the store asks for patience about {uri} [{code}]", "run it again later, or fewer migrations at once"
        )
    if code in _LATER or re.fullmatch(r"5\d\d", code):
        return _transient(f"the store failed when asked for {uri} [{code}]", _LATER_HINT)
    if code in _REPLACED:
        hint = "see that no other run works on it, then run it again"
        return _transient(f"{uri} was replaced while it was read [{code}]", hint)
    if code in _NO_BUCKET or code in _GONE:
        return _fatal(
            f"there is no bucket {bucket} [{code}]", "make it, or correct EUROSKY_ARTIFACTS and AWS_ENDPOINT_URL"
        )
    if code in _WRONG_REGION:
        return _fatal(f"{bucket} is in another region [{code}]", "set AWS_REGION to the bucket's own")
    if code in _BAD_KEYS:
        return _fatal(f"the store does not accept the keys for {uri} [{code}]", _KEYS_HINT)
    if code in _REFUSED:
        return _fatal(
            f"the store does not let these keys use {uri} [{code}]",
            "docs/operations.md lists what they must be allowed",
        )
    return _fatal(f"the store refuses what it was asked about {uri} [{code}]", "look the code up in the store's manual")


def _transient(text: str, hint: str) -> TransientError:
    return TransientError(text, code="artifacts_unavailable", hint=hint)


def _fatal(text: str, hint: str) -> FatalError:
    return FatalError(text, code="artifacts_unavailable", hint=hint)
