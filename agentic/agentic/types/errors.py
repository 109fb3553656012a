"""Every error this package raises, in one tree.

::

    AgenticError
    ├── UsageError                 the caller's mistake; repeating the call cannot help
    │   ├── InvalidInput           a value that cannot be used (empty, wrong type, too large)
    │   ├── ConfigError            a setting, key or name is missing or contradicts another
    │   ├── ToolDefinitionError    a function cannot be offered as a tool
    │   ├── NotFound               no session, turn, step or model of that name
    │   └── TurnPending            the session waits for `resume`, or has nothing to resume
    ├── InferenceError             the model's side
    │   ├── ConnectionFailed       no connection, or it broke before anything was shown   (retry helps)
    │   ├── InferenceTimeout       connect, first token or gap took too long              (retry helps)
    │   ├── AuthenticationFailed   401 or 403: the key is missing or wrong
    │   ├── ModelNotFound          the server does not serve that model
    │   ├── RateLimited            429; `retry_after` in seconds when the server said so  (retry helps)
    │   ├── ServerFailed           5xx                                                    (retry helps)
    │   ├── RequestRejected        another 4xx: the server refused this very request
    │   ├── ContextOverflow        the prompt does not fit the model's context
    │   ├── StreamBroken           the answer ended in the middle, after text was shown
    │   └── InvalidResponse        the server's answer is not what its API documents
    ├── ToolError                  raised by a tool: its text is the result that the model reads
    │   ├── ToolRetry              the model should call again, changed as the text says
    │   └── ToolUnauthorized       the service behind a tool demands a key, or refuses the one it got
    ├── StoreError                 the session store
    │   ├── SessionBusy            another writer runs a turn in this session             (retry helps)
    │   ├── StoreLocked            another process held the database for too long         (retry helps)
    │   ├── StoreUnreachable       no connection to the database server, or it broke      (retry helps)
    │   ├── StoreTooNew            written by a newer version of this package
    │   ├── StoreReadOnly          the file or the folder cannot be written
    │   ├── StoreFull              the disk is full
    │   └── StoreCorrupt           a row does not match its hash, or the file is damaged
    ├── CodecError                 text that cannot be encoded or, in strict mode, decoded
    └── IllegalStep                a bug in this package: a turn was asked for a step its table forbids
"""

from __future__ import annotations

from typing import ClassVar, Literal

Fault = Literal["caller", "model", "tool", "store", "package"]


class AgenticError(Exception):
    """The root of the tree.

    Attributes:
        fault: Whose fault it is.
        retryable: Whether the same call may succeed when it is repeated unchanged.
        hint: What to do about it, or an empty string when the message already says so.
        step_id: The step in which it happened, when there was one.
    """

    fault: ClassVar[Fault] = "package"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", step_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.step_id = step_id

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(AgenticError):
    """The caller's mistake."""

    fault = "caller"


class InvalidInput(UsageError):
    """A value that cannot be used."""


class ConfigError(UsageError):
    """A setting, key or name is missing or contradicts another."""


class ToolDefinitionError(UsageError):
    """A function cannot be offered as a tool."""


class NotFound(UsageError):
    """No session, turn, step or model of that name."""


class TurnPending(UsageError):
    """The session waits for `resume` first, or has nothing to resume."""


class InferenceError(AgenticError):
    """The model's side failed."""

    fault = "model"


class ConnectionFailed(InferenceError):
    """No connection, or it broke before anything was shown."""

    retryable = True


class InferenceTimeout(InferenceError):
    """Connecting, the first token or the gap between two took too long."""

    retryable = True


class AuthenticationFailed(InferenceError):
    """The key is missing or wrong."""


class ModelNotFound(InferenceError):
    """The server does not serve that model."""


class RateLimited(InferenceError):
    """Too many requests.

    Attributes:
        retry_after: Seconds to wait, or None when the server did not say.
    """

    retryable = True

    def __init__(
        self, message: str, *, retry_after: float | None = None, hint: str = "", step_id: str | None = None
    ) -> None:
        super().__init__(message, hint=hint, step_id=step_id)
        self.retry_after = retry_after


class ServerFailed(InferenceError):
    """The server failed (5xx)."""

    retryable = True


class RequestRejected(InferenceError):
    """The server refused this very request (a 4xx with no better name)."""


class ContextOverflow(InferenceError):
    """The prompt does not fit the model's context."""


class StreamBroken(InferenceError):
    """The answer ended in the middle, after part of it had been shown."""


class InvalidResponse(InferenceError):
    """The server's answer is not what its API documents."""


class ToolError(AgenticError):
    """Raised by a tool: the text becomes the result that the model reads."""

    fault = "tool"


class ToolRetry(ToolError):
    """Raised by a tool when the model should call it again, changed as the text says."""


class ToolUnauthorized(ToolError):
    """The service behind a tool demands a key, or refuses the one that it got."""


class StoreError(AgenticError):
    """The session store failed."""

    fault = "store"


class SessionBusy(StoreError):
    """Another writer runs a turn in this session."""

    retryable = True


class StoreLocked(StoreError):
    """Another process held the database for too long."""

    retryable = True


class StoreUnreachable(StoreError):
    """There is no connection to the database server, or it broke.

    What was being written when it broke is in the store wholly or not at all: read the session to learn which.
    """

    retryable = True


class StoreTooNew(StoreError):
    """The store was written by a newer version of this package."""


class StoreReadOnly(StoreError):
    """The file or its folder cannot be written."""


class StoreFull(StoreError):
    """The disk is full."""


class StoreCorrupt(StoreError):
    """A row does not match its hash, or the file is damaged."""


class CodecError(AgenticError):
    """Text that cannot be encoded or, in strict mode, decoded."""


class IllegalStep(AgenticError):
    """A turn was asked for a step that its table forbids: a bug in this package."""


def describe(error: BaseException) -> str:
    """What the model reads of an exception."""
    if isinstance(error, AgenticError) and str(error):
        return str(error)
    text = words(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def words(error: BaseException) -> str:
    """An exception's text; an empty string where it has none to give."""
    try:
        return str(error)
    except Exception:
        return ""
