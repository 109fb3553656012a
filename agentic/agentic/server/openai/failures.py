"""Errors in OpenAI's form."""

from __future__ import annotations

from typing import Any

from ...types import errors
from .. import failures as common


def status_of(error: BaseException) -> int:
    """The HTTP status that an error leads to; unlike Llama Stack, OpenAI answers an unknown id with 404."""
    return 404 if isinstance(error, errors.NotFound | errors.ModelNotFound) else common.status_of(error)


def body_of(error: BaseException) -> dict[str, Any]:
    """The body of an error's answer, and the last frame of a stream that failed."""
    return {"error": {**error_of(error), "param": None}}


def error_of(error: BaseException) -> dict[str, Any]:
    """An error's message, type and code."""
    code: str | None
    match status_of(error):
        case 404:
            kind, code = "invalid_request_error", "not_found"
        case 429:
            kind, code = "rate_limit_error", "rate_limit_exceeded"
        case 409:
            kind, code = "conflict_error", "conflict"
        case status if status < 500:
            kind, code = "invalid_request_error", None
        case _:
            kind, code = "server_error", "server_error"
    if isinstance(error, errors.ContextOverflow):
        code = "context_length_exceeded"
    return {"message": common.message_of(error).removeprefix("Invalid value: "), "type": kind, "code": code}
