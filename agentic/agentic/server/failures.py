"""What an error is to a client: a status, and words that give nothing away."""

from __future__ import annotations

import logging
from typing import Any

from ..types import errors

log = logging.getLogger("agentic.server")


def status_of(error: BaseException) -> int:
    """The HTTP status that an error leads to. Llama Stack answers an unknown name with 400, too."""
    match error:
        case errors.ToolUnauthorized():
            return 401
        case errors.UsageError() | errors.ToolError() | errors.CodecError():
            return 400
        case errors.RequestRejected() | errors.ContextOverflow() | errors.ModelNotFound():
            return 400
        case errors.SessionBusy():
            return 409
        case errors.RateLimited():
            return 429
        case errors.InferenceTimeout() | TimeoutError():
            return 504
        case errors.InferenceError():
            return 502
        case errors.StoreLocked() | errors.StoreUnreachable():
            return 503
        case PermissionError():
            return 403
        case NotImplementedError():
            return 501
        case _:
            return 400 if _is_too_deep(error) else 500


def message_of(error: BaseException) -> str:
    """What the client reads. What this package did not raise on purpose is not shown: it may hold anything."""
    status = status_of(error)
    if isinstance(error, errors.AgenticError) and status != 500:
        return f"Invalid value: {error}" if status == 400 else str(error)
    if _is_too_deep(error):
        return "Invalid value: The request is nested too deeply."
    if isinstance(error, errors.StoreError):
        return f"The session store failed: {error.message}"
    log.error("An unexpected error", exc_info=error)
    return "Internal server error: the server's log says more."


def _is_too_deep(error: BaseException) -> bool:
    """Whether a value is nested so deeply that it cannot be written: only a client's is."""
    return isinstance(error, RecursionError) or (isinstance(error, ValueError) and "depth exceeded" in str(error))


def frame_of(error: BaseException) -> dict[str, Any]:
    """The last frame of a stream that failed."""
    return {"error": {"message": f"{status_of(error)}: {message_of(error)}"}}
