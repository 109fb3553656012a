"""What is seen of requests and turns from outside: log lines, metrics and spans. None of it holds what anybody said."""

from __future__ import annotations

import json
import logging
import time
import traceback
import uuid
from collections.abc import Iterable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from ..session import Session
from ..types.events import Event, StepCompleted, TurnCompleted, TurnPaused, TurnStarted
from ..types.steps import InferenceStep, ShieldCallStep, ToolExecutionStep

if TYPE_CHECKING:
    from starlette.types import Scope

    from .metrics import Metrics
    from .spans import Spans, TurnSpans

log = logging.getLogger("agentic.server")

REQUEST_ID: ContextVar[str] = ContextVar("agentic_request_id", default="")
"""The request that is being answered; a turn's task inherits the one of the request that began it."""


class Watch:
    """Watches one application.

    Args:
        metrics: Where to count.
        spans: Where to trace, or None.
    """

    def __init__(self, metrics: Metrics, spans: Spans | None = None) -> None:
        self.metrics = metrics
        self.spans = spans

    def request(self, scope: Scope) -> RequestWatch:
        """A request has come."""
        return RequestWatch(self.metrics, scope)

    def turn(self, session: Session) -> TurnWatch:
        """A turn is about to begin, or to go on."""
        return TurnWatch(self.metrics, self.spans.turn(session.session_id) if self.spans else None)


class RequestWatch:
    """Watches one request, its stream included.

    Args:
        metrics: Where to count.
        scope: The request's; the router adds the route.

    Attributes:
        request_id: Unique; clients see it as `x-trace-id`.
        ids: What its line names besides: the key, the tenant, the turn.
    """

    def __init__(self, metrics: Metrics, scope: Scope) -> None:
        self.request_id = uuid.uuid4().hex
        self.ids: dict[str, str] = {}
        self._metrics = metrics
        self._scope = scope
        self._begun = time.monotonic()
        self._status = 500
        metrics.open.inc()

    def begin(self, status: int, turn_id: str | None) -> None:
        """The answer begins."""
        self._status = status
        if turn_id is not None:
            self.ids["turn_id"] = turn_id

    def end(self) -> None:
        """The answer is complete, or will never be."""
        seconds = time.monotonic() - self._begun
        method, path = self._scope["method"], self._scope["path"]
        route = getattr(self._scope.get("route"), "path", "none")
        self._metrics.open.dec()
        self._metrics.request(method, route, self._status, seconds)
        quiet = path in ("/v1/health", "/metrics")  # they are asked every few seconds
        level = logging.ERROR if self._status >= 500 else logging.DEBUG if quiet else logging.INFO
        shown = {"method": method, "path": path, "status": self._status, "ms": round(seconds * 1000, 1)}
        note(level, "request", **shown, **self.ids)


class TurnWatch:
    """Watches one turn.

    Args:
        metrics: Where to count.
        spans: Where to trace, or None.
    """

    def __init__(self, metrics: Metrics, spans: TurnSpans | None) -> None:
        self._metrics = metrics
        self._spans = spans
        self._begun = time.monotonic()
        self._ended = False
        self._ids: dict[str, str] = {}
        metrics.running.inc()

    def see(self, event: Event) -> None:
        """Takes one event of the engine."""
        if self._spans is not None:
            self._spans.see(event)
        match event:
            case TurnStarted(turn_id=turn_id, session_id=session_id):
                self._ids = {"turn_id": turn_id, "session_id": session_id}
                note(logging.INFO, "turn started", **self._ids)
            case StepCompleted(step=InferenceStep() | ToolExecutionStep() | ShieldCallStep() as step):
                self._metrics.step(step)
            case TurnPaused(turn=turn):
                self._end(turn.turn_id, "paused")
            case TurnCompleted(turn=turn):
                self._end(turn.turn_id, str(turn.reason))
            case _:
                pass

    def close(self, error: BaseException | None = None) -> None:
        """No more events will come."""
        if not self._ended:
            self._end(self._ids.get("turn_id", ""), "error", error=type(error).__name__)
        if self._spans is not None:
            self._spans.close(error)

    def _end(self, turn_id: str, reason: str, **more: str) -> None:
        self._ended = True
        self._metrics.running.dec()
        seconds = time.monotonic() - self._begun
        self._metrics.turn(reason, seconds)
        ids = {**self._ids, "turn_id": turn_id}
        note(logging.INFO, "turn ended", reason=reason, ms=round(seconds * 1000, 1), **ids, **more)


def note(level: int, message: str, **fields: object) -> None:
    """Writes a line with fields."""
    if log.isEnabledFor(level):
        log.log(level, message, extra={"fields": fields})


class Lines(logging.Formatter):
    """Each record as one line of JSON.

    Of an exception it shows the kind and the places: its text may hold a key, a prompt or a document, and so may what
    is put into a message, which is left out, too.
    """

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        shown: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": str(record.msg).strip(),
        }
        if request_id := REQUEST_ID.get():
            shown["request_id"] = request_id
        shown |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            shown["error"] = list(_kinds(record.exc_info[1]))
            places = traceback.extract_tb(record.exc_info[2])
            shown["places"] = [f"{place.filename}:{place.lineno} {place.name}" for place in places]
        return json.dumps(shown, ensure_ascii=False, default=str)


def _kinds(error: BaseException) -> Iterable[str]:
    """The classes of an error and of those that led to it."""
    seen: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in seen:
        seen.append(found)
        yield f"{type(found).__module__}.{type(found).__qualname__}"
        found = found.__cause__ or found.__context__


def log_to(stream: TextIO, level: int = logging.INFO) -> None:
    """Sends this server's log, and uvicorn's, to a stream as lines of JSON."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Lines())
    for name, least in (("agentic.server", level), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(least)
