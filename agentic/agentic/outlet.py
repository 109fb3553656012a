"""The way of an answer's text to the caller: at once, in segments that shields have cleared, or only as a whole."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import TracebackType
from typing import Literal, Self, TypeAlias

from .types.content import text_of
from .types.events import Event, TextDelta, ToolCallProgress
from .types.sampling import ToolCallDelta
from .types.steps import Judgement, Verdict

OutputShieldMode: TypeAlias = Literal["segments", "whole", "stream"]
"""How text reaches the caller where shields look at it: in sentences that they have cleared, after they have seen all
of it, or at once, so that a violation only ends the turn."""

SHORTEST, LONGEST = 10, 400
"""Characters of a segment: it ends with a sentence, or where one is too long with a word."""
GROWTH = 8
"""A segment is at least one part in so many of what was cleared before it, so that all looks together are at no more
than `GROWTH + 1` times the answer: at each of its sentences anew, cost would grow with the square of its length."""

_END = re.compile(r"[.!?…।॥؟۔][\"'”’)\]]*\s|\n|[。！？]")  # noqa: RUF001


class Outlet:
    """One answer on its way. While shields look at its beginning, the model goes on.

    Each look is at all of the text so far: a sentence may be harmless only by itself. What was collected while the
    shields looked is looked at together, so slow shields get longer segments, never a queue.

    Args:
        step_id: The inference.
        mode: How text is let out.
        look: What shields say of the beginning of an answer.
        emit: Gets what may be seen.

    Attributes:
        shown: The segments that the caller has seen.
        sent: How many characters the caller has seen.
        verdicts: What shields said so far.
        objected: Whether one objected; whoever still waits for the rest of the answer stops waiting.
    """

    def __init__(
        self,
        step_id: str,
        mode: OutputShieldMode,
        look: Callable[[str], Awaitable[tuple[Verdict, ...]]],
        emit: Callable[[Event], None],
    ) -> None:
        self.step_id = step_id
        self.shown = ""
        self.sent = 0
        self.verdicts: tuple[Verdict, ...] = ()
        self.objected = False
        self.mode = mode
        self._look = look
        self._emit = emit
        self._text = ""
        self._seen = 0
        self._looking: asyncio.Task[None] | None = None
        self._answering = asyncio.timeout(None)

    def feed(self, delta: str | ToolCallDelta) -> None:
        """Takes the next piece from the model."""
        if isinstance(delta, ToolCallDelta):
            if self.mode == "stream":
                self._emit(ToolCallProgress(delta.index, delta.name, delta.arguments, self.step_id))
            return
        if self.mode == "stream":
            self._send(delta)
        elif self.mode == "segments":
            self._text += delta
            if (self._looking is None or self._looking.done()) and self._segment():
                self._looking = asyncio.create_task(self._clear())

    async def __aenter__(self) -> Self:
        await self._answering.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Gives up a look that is still going on: shields look at the whole answer next.

        Returns:
            Whether the answer was cut off by an objection.
        """
        try:
            await self._answering.__aexit__(kind, error, trace)
            cut_off = self._answering.expired() and isinstance(error, Exception)
        except TimeoutError:
            cut_off = True
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
            if not self._looking.cancelled():
                self._looking.result()
        return cut_off

    async def _clear(self) -> None:
        while not self.objected and (end := self._segment()):
            self._seen = end
            verdicts = await self._look(self._text[:end])
            judgement = Judgement(verdicts)
            if judgement.violation:
                self.objected = True
                self.verdicts += verdicts
                with contextlib.suppress(RuntimeError):  # the answer had just ended by itself
                    self._answering.reschedule(0.0)
                return
            # The prompts of all beginnings together would grow with the square of the answer's length.
            self.verdicts += tuple(replace(one, prompt="") for one in verdicts)
            cleared = next(map(text_of, judgement.replacements.values()), self._text[:end])
            if cleared.startswith(self.shown):  # otherwise a repair reaches back: nothing more until all is known
                self._send(cleared[len(self.shown) :])
                self.shown = cleared

    def _segment(self) -> int:
        """Where the next segment ends; 0 while there is none."""
        least = self._seen + max(SHORTEST, self._seen // GROWTH)
        if len(self._text) < least:
            return 0
        end = max((found.end() for found in _END.finditer(self._text, self._seen)), default=0)
        if end >= least:
            return end
        if len(self._text) < least + LONGEST - SHORTEST:
            return 0
        return self._text.rfind(" ", least) + 1 or len(self._text)

    def _send(self, text: str) -> None:
        self.sent += len(text)
        self._emit(TextDelta(text, self.step_id))
