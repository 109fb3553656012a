"""How a turn is shown: on a terminal, or as JSON lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..types.content import Content, images_of, text_of
from ..types.events import (
    Event,
    StepCompleted,
    StepStarted,
    TextDelta,
    ToolCallCompleted,
    ToolCallStarted,
    ToolProgress,
    TurnCompleted,
)
from ..types.serialise import to_json
from ..types.steps import InferenceStep, MemoryRetrievalStep, ShieldCallStep, Step, StepType
from ..types.tools import ToolCall, ToolResponse, ToolStatus
from ..types.turns import EndReason, Turn
from .text import Cleaner, cleaned, one_line

if TYPE_CHECKING:
    from rich.status import Status

WIDE = 200
"""Characters of a line where no terminal says how wide it is."""

ENDINGS: Mapping[EndReason | None, str] = {
    EndReason.OUT_OF_TOKENS: "The answer was cut off: the model ran out of tokens.",
    EndReason.MAX_INFER_ITERS: "Stopped: the model was asked as often as --max-iters allows.",
    EndReason.TIME_LIMIT: "Stopped: the turn's time is up.",
    EndReason.TOKEN_LIMIT: "Stopped: the turn's tokens are used up.",
    EndReason.VIOLATION: "A shield objected.",
    EndReason.REPEATED_FAILURE: "Stopped: the model kept making the same failing call.",
    EndReason.CANCELLED: "The turn was cancelled.",
    EndReason.INTERRUPTED: "The turn was cut off by the end of its process.",
}


class View(Protocol):
    """Where events go."""

    def show(self, event: Event) -> None:
        """Shows the next event of a turn."""
        ...

    def close(self) -> None:
        """No more events come for now."""
        ...


class JsonLines:
    """Every event as one line of JSON on stdout."""

    def __init__(self) -> None:
        self._out = sys.stdout

    def show(self, event: Event) -> None:
        """Writes the event."""
        self.write(to_json(event).decode())

    def write(self, line: str) -> None:
        """Writes one line of JSON."""
        self._out.write(f"{line}\n")
        self._out.flush()

    def close(self) -> None:
        """Nothing is held back."""


class Screen:
    """The answer on stdout, everything else on stderr.

    On a terminal the text appears as it comes. Where stdout is something else, it gets the answer alone, at the end:
    only then is it known which text was the answer and which came before a call.
    """

    def __init__(self) -> None:
        from rich.console import Console

        self._out = sys.stdout
        self._streaming = self._out.isatty()
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._marks = ("●", "└", "│", " · ") if self._console.encoding.startswith("utf") else ("*", "-", "|", ", ")
        self._status: Status | None = None
        self._cleaner = Cleaner()
        self._written: list[str] = []
        self._at_line_start = True
        self._running: dict[str, tuple[ToolCall, float]] = {}
        self._latest = ""  # the call named on the last line; its result needs no name

    def show(self, event: Event) -> None:
        """Shows what a person wants to know of the event."""
        self._quiet()
        match event:
            case StepStarted(step_type=StepType.INFERENCE):
                self._written.clear()
                self._think()
            case TextDelta(text=text) if self._streaming:
                self._written.append(text)
                self._write(self._cleaner.feed(text))
            case ToolCallStarted(call=call):
                self._running[call.call_id] = (call, time.monotonic())
                self.line(self._marks[0], label(call, self.width - 2))
                self._latest = call.call_id
            case ToolProgress(content=content):
                self.line(f"  {self._marks[2]}", summary(content, self.width - 4))
            case ToolCallCompleted(response=response):
                self._result(response)
            case StepCompleted(step=step):
                self._step(step)
            case TurnCompleted(turn=turn):
                self._ended(turn)

    def close(self) -> None:
        """Ends a line that was left open."""
        self._quiet()
        self._end_line()

    @property
    def width(self) -> int:
        """Characters of a line."""
        return max(20, self._console.width) if self._console.is_terminal else WIDE

    def line(self, mark: str, text: str, style: str = "", after: str = "") -> None:
        """Prints a line on stderr: a mark, text in a style, and something less important after it."""
        from rich.text import Text

        self._end_line()
        self._console.print(Text.assemble((f"{mark} " if mark else "", "cyan"), (text, style), (after, "dim")))

    def _result(self, response: ToolResponse) -> None:
        call, started = self._running.pop(response.call_id, (None, 0.0))
        after = f"{self._marks[3]}{duration(time.monotonic() - started)}" if call else ""
        name = label(call, self.width // 2) if call else one_line(response.tool_name, self.width // 2)
        which = "" if response.call_id == self._latest else f"{name}: "
        text = which + summary(response.content, max(20, self.width - 4 - len(which) - len(after)))
        self.line(f"  {self._marks[1]}", text, "" if response.status is ToolStatus.OK else "yellow", after)
        self._latest = ""

    def _step(self, step: Step) -> None:
        match step:
            case InferenceStep():
                self._write(self._cleaner.rest())
                for note in step.message.notes if step.message else ():
                    self.line("", one_line(note, self.width), "dim")
            case ShieldCallStep(judgement=judgement) if judgement:
                for verdict in judgement.verdicts:
                    said = verdict.error or (verdict.violation.user_message if verdict.violation else "")
                    if said:
                        text = f"{verdict.shield_id} objects to the {step.touchpoint}: {said}"
                        self.line(self._marks[0], one_line(text, self.width - 2), "yellow")
            case MemoryRetrievalStep(retrieval=retrieval) if retrieval:
                text = f"memory ({', '.join(step.banks)}): {len(retrieval.hits)} passages"
                self.line(self._marks[0], one_line(text, self.width - 2))

    def _ended(self, turn: Turn) -> None:
        if turn.text != "".join(self._written):
            self._end_line()
            self._write(cleaned(turn.text))
        self._written.clear()
        self._end_line()
        if turn.reason is EndReason.END_OF_TURN and not turn.text.strip():
            self.line("", "The model's answer is empty.", "yellow")
        elif turn.reason in ENDINGS:
            self.line("", ENDINGS[turn.reason], "yellow")

    def _think(self) -> None:
        if self._console.is_terminal:
            self._end_line()
            self._status = self._console.status("[dim]thinking")
            self._status.start()

    def _quiet(self) -> None:
        if self._status:
            self._status.stop()
            self._status = None

    def _write(self, text: str) -> None:
        if text:
            self._out.write(text)
            self._out.flush()
            self._at_line_start = text.endswith("\n")

    def _end_line(self) -> None:
        if not self._at_line_start:
            self._write("\n")


def label(call: ToolCall, width: int) -> str:
    """A call on one line: `name(key=value, …)`."""
    if call.error is not None:
        return one_line(f"{call.name}({call.raw[:WIDE]}) cannot be read", width)
    arguments = ", ".join(f"{key}={_value(value)}" for key, value in call.arguments.items())
    return one_line(f"{call.name}({arguments[: 2 * WIDE]})", width)


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[: 2 * WIDE]


def summary(content: Content, width: int) -> str:
    """The first line of a result, and how many images it holds."""
    text = text_of(content)[: 4 * WIDE].strip()
    images = len(images_of(content))
    note = f"[{images} image{'s' if images > 1 else ''}]" if images else ""
    return one_line(f"{text} {note}" if text else note, width)


def duration(seconds: float) -> str:
    """A time span as a person reads it."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def footer(turn: Turn) -> str:
    """A turn's cost on one line."""
    spent = (turn.completed_at - turn.started_at).total_seconds() if turn.completed_at else None
    parts = [f"{turn.usage.total:,} tokens" if turn.usage.total else "", duration(spent) if spent is not None else ""]
    return ", ".join(filter(None, parts))
