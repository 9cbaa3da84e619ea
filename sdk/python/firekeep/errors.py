"""What can go wrong, by kind. `str(error)` is the server's sentence for the user."""

from __future__ import annotations

from typing import Any


class FirekeepError(Exception):
    """Base of every error of this package."""


class APIError(FirekeepError):
    """The server refused a request. `kind` is its stable error kind, `status` the HTTP status."""

    kind = "UNKNOWN"

    def __init__(self, message: str, *, kind: str | None = None, status: int = 0, body: Any = None):
        super().__init__(message)
        self.message = message
        if kind is not None:
            self.kind = kind
        self.status = status
        self.body = body


class InvalidArgumentError(APIError, ValueError):
    kind = "INVALID_ARGUMENT"


class NotFoundError(APIError):
    kind = "NOT_FOUND"


class AlreadyExistsError(APIError, ValueError):
    kind = "ALREADY_EXISTS"


class AuthenticationError(APIError):
    kind = "UNAUTHENTICATED"


class PermissionDeniedError(APIError):
    kind = "PERMISSION_DENIED"


class RateLimitError(APIError):
    kind = "RESOURCE_EXHAUSTED"


class UnavailableError(APIError):
    """The server could not be reached, or asks to try again later."""

    kind = "UNAVAILABLE"


class JobFailedError(FirekeepError, RuntimeError):
    """A job ended in a state other than COMPLETED. The text is the job's own message."""

    def __init__(self, message: str, *, state: str, job: str):
        super().__init__(message)
        self.state = state
        self.job = job


class NoSignalWarning(UserWarning):
    """A step found no sample with a gradient: the output model has the incoming weights."""


_BY_STATUS = {
    400: InvalidArgumentError, 401: AuthenticationError, 403: PermissionDeniedError, 404: NotFoundError,
    409: AlreadyExistsError, 422: InvalidArgumentError, 429: RateLimitError, 503: UnavailableError,
}
_KIND_BY_CODE = {
    1: "CANCELLED", 3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND", 6: "ALREADY_EXISTS", 7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION", 10: "ABORTED", 11: "OUT_OF_RANGE", 12: "UNIMPLEMENTED", 13: "INTERNAL",
    14: "UNAVAILABLE", 15: "DATA_LOSS", 16: "UNAUTHENTICATED",
}


def from_response(status: int, body: Any) -> APIError:
    """The error for an HTTP answer: control plane ({code,message}) or inference ({error:{...}}) shape."""
    message, kind = "", None
    if isinstance(body, dict):
        inner = body.get("error")
        if isinstance(inner, dict):
            message = str(inner.get("message", ""))
        else:
            message = str(body.get("message") or inner or "")
            code = body.get("code")
            kind = _KIND_BY_CODE.get(code) if isinstance(code, int) else None
    if not message:
        message = f"HTTP {status}" + (f": {body[:200]}" if isinstance(body, str) and body else "")
    return _BY_STATUS.get(status, APIError)(message, kind=kind, status=status, body=body)
