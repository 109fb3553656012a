"""One response on its way: a turn, or a part of one, shown as OpenAI's events and kept beside its session."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from ...session import Session
from ...store import Store
from ...store.documents import Documents
from ...types.errors import InvalidInput, NotFound, SessionBusy
from ...types.events import Event, TurnCompleted, TurnPaused, TurnStarted
from ...types.sampling import Usage
from ...types.steps import InferenceStep
from ...types.turns import EndReason, Turn
from ..turns import Live
from .failures import error_of
from .response_items import Output
from .response_tools import Tools

KIND = "response"

_INCOMPLETE = {EndReason.OUT_OF_TOKENS, EndReason.TOKEN_LIMIT}
_STOPPED = {
    EndReason.MAX_INFER_ITERS: "The model was asked as often as a turn allows, and called tools still.",
    EndReason.TIME_LIMIT: "The turn's time was up.",
    EndReason.REPEATED_FAILURE: "The model kept making the same failing call.",
    EndReason.INTERRUPTED: "The turn was cut off by the end of its process.",
    EndReason.ERROR: "The turn failed.",
}


@dataclass(slots=True, kw_only=True)
class Run:
    """A response that runs, or has just ended.

    Attributes:
        response: As the API shows it; it grows.
        session: Where its turn runs.
        events: Starts the turn, or takes it up.
        tools: Its tools.
        documents: Where it is kept, or None where nothing is to be kept.
        items: The input items.
        spent: The tokens that its turn had taken before.
        dispose: The store that the session is removed from at the end, or None.
        include: What the client wants to see besides.
        feed: Its events, as frames.
        error: What it failed with, or None.
    """

    response: dict[str, Any]
    session: Session
    events: Callable[[], AsyncIterator[Event]]
    tools: Tools
    documents: Documents | None
    items: list[dict[str, Any]]
    spent: Usage = field(default_factory=Usage)
    dispose: Store | None = None
    include: frozenset[str] = frozenset()
    live: Live | None = None
    error: Exception | None = None
    feed: Live = field(init=False)
    _turn: Turn | None = None
    _turn_id: str | None = None
    _numbered: int = 0

    def __post_init__(self) -> None:
        self.feed = Live(self.session, None)

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self.feed.running

    async def drive(self) -> AsyncIterator[Event]:
        """Runs it to its end, whoever reads, and passes the engine's events on.

        The last frame comes after the response is kept: what was reported is not lost.
        """
        output = Output(self.emit, self.tools.kinds, self.include, self.response["output"])
        try:
            self._tell("response.created")
            if self.response["background"]:
                self._tell("response.queued")
            self.response["status"] = "in_progress"
            self._tell("response.in_progress")
            for label, tools in self.tools.listed.items():
                output.list_tools(label, tools)
            async for event in self.events():
                await self._note(event)
                output.take(event)
                yield event
            self._end()
        except Exception as error:
            self.error = error
            output.close()
            self._fail(error)
        except BaseException:  # the server ends
            self._stop("cancelled")
            raise
        finally:
            await self._finish()

    def emit(self, kind: str, **fields: Any) -> None:
        """Sends an event to whoever reads."""
        self.feed.add(event_frame(kind, self._numbered, **fields))
        self._numbered += 1

    def _tell(self, kind: str) -> None:
        self.emit(kind, response=self.response)

    async def _note(self, event: Event) -> None:
        match event:
            case TurnStarted(turn_id=turn_id):
                self._turn_id = turn_id
                await self.keep()
            case TurnPaused(turn=turn) | TurnCompleted(turn=turn):
                self._turn, self._turn_id = turn, turn.turn_id

    def _end(self) -> None:
        turn = self._turn
        reason = turn.reason if turn else EndReason.CANCELLED
        if turn is not None:
            self.response["usage"] = usage_of(turn.usage, self.spent)
        if reason in _STOPPED:
            message = _STOPPED[reason]
            if turn and turn.failure:
                message = turn.failure.message
            self._stop("failed", {"code": "server_error", "message": message})
        elif reason is EndReason.CANCELLED:
            self._stop("cancelled")
        elif reason in _INCOMPLETE:
            self._stop("incomplete")
            self.response["incomplete_details"] = {"reason": "max_output_tokens"}
        else:
            self._stop("completed")
            self.response["completed_at"] = int(time.time())

    def _fail(self, error: Exception) -> None:
        told = error_of(error)
        code = "rate_limit_exceeded" if told["code"] == "rate_limit_exceeded" else "server_error"
        self._stop("failed", {"code": code, "message": told["message"]})

    def _stop(self, status: str, error: dict[str, Any] | None = None) -> None:
        self.response |= {"status": status, "error": error}

    async def _finish(self) -> None:
        try:
            await self.keep()
            await self.dismiss()
        except Exception as error:
            self.error = self.error or error
            self._fail(error)
        finally:
            status = self.response["status"]
            # There is no event for the end of a cancelled response: a reader sees its status in the last one.
            self._tell(f"response.{status if status in ('failed', 'incomplete') else 'completed'}")
            self.feed.end()

    async def dismiss(self) -> None:
        """Closes what was opened for it, and removes what is not to be kept."""
        await self.tools.aclose()
        if self.dispose is not None:
            await remove_session(self.dispose, self.session.session_id)

    async def keep(self) -> None:
        """Writes down how far it has come."""
        if self.documents is None:
            return
        pending = [item.call.call_id for item in self._turn.pending] if self._turn else []
        steps = [step.step_id for step in self._turn.steps if isinstance(step, InferenceStep)] if self._turn else []
        body = {
            "response": self.response,
            "input": self.items,
            "session_id": self.session.session_id,
            "turn_id": self._turn_id,
            "last_step": steps[-1] if steps else None,
            "pending": pending,
        }
        await self.documents.put(KIND, self.response["id"], body)
        await self.documents.put(uses(self.session.session_id), self.response["id"], {})


def uses(session_id: str) -> str:
    """The kind of the documents that say which responses rest on a session."""
    return f"response of {session_id}"


async def remove_session(store: Store, session_id: str) -> None:
    """Removes a session, unless it is in use, or others go on from it."""
    try:
        await store.delete(session_id)
    except (NotFound, InvalidInput, SessionBusy):
        return


def event_frame(kind: str, number: int, **fields: Any) -> bytes:
    """One event in OpenAI's form."""
    data = {"type": kind, "sequence_number": number, **fields}
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {kind}\ndata: {body}\n\n".encode()


def usage_of(usage: Usage, before: Usage) -> dict[str, Any]:
    """Tokens, in the words of responses."""
    taken, written = usage.input_tokens - before.input_tokens, usage.output_tokens - before.output_tokens
    return {
        "input_tokens": taken,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": taken + written,
    }


async def abandoned(store: Store, session_id: str) -> bool:
    """Whether nobody runs a turn in a session: neither this process nor another one."""
    try:
        lease = await store.acquire(session_id)
    except NotFound:
        return True
    except SessionBusy:
        return False
    await asyncio.shield(store.release(lease))
    return True
