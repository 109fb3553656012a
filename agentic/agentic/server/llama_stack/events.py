"""A turn's events as Llama Stack 0.2.12 streams them: what order they have, and what is in each. No I/O.

Where the engine's order differs, what came early is held back: an output shield looks before the text is shown, but
the wire has the inference's end first.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ...types.content import text_of
from ...types.events import (
    Event,
    StepCompleted,
    StepStarted,
    TextDelta,
    ToolCallStarted,
    ToolProgress,
    TurnCompleted,
    TurnPaused,
    TurnStarted,
)
from ...types.steps import InferenceStep, StepType, ToolExecutionStep
from ...types.tools import ToolCall, ToolResponse
from ...types.turns import EndReason, Turn
from . import wire

JSON = dict[str, Any]


class TurnFrames:
    """Makes payloads of one turn's events.

    Args:
        turn_id: The turn, when it has begun before.
        tools: Whether the model is offered tools; its text then begins with an empty piece.
        before: The turns that this one continues; the client sees them as one.
        given: The results with which it does.
        announce: Sends `turn_start`, as servers did before 0.1.6.
    """

    def __init__(
        self,
        *,
        turn_id: str = "",
        tools: bool = False,
        before: Sequence[Turn] = (),
        given: Sequence[ToolResponse] = (),
        announce: bool = False,
    ) -> None:
        self._tools = tools
        self._before = tuple(before)
        self._given = tuple(given)
        self._announce = announce
        self._turn_id = before[0].turn_id if before else turn_id
        self._inferring = False
        self._tools_begun: str | None = None
        self._held: list[JSON] = []

    def __call__(self, event: Event) -> list[JSON]:
        """The payloads of one event."""
        match event:
            case TurnStarted():
                return self._begun(event)
            case StepStarted():
                return self._started(event)
            case TextDelta():
                return [_progress("inference", event.step_id, {"type": "text", "text": event.text})]
            case ToolCallStarted():
                return self._call(event)
            case ToolProgress():
                delta = {"type": "text", "text": text_of(event.content)}
                return [_progress("tool_execution", event.step_id, delta)] if delta["text"] else []
            case StepCompleted():
                return self._completed(event)
            case TurnPaused() | TurnCompleted():
                return self.ended(event.turn)
            case _:
                return []

    def ended(self, turn: Turn) -> list[JSON]:
        """The payload of a turn's end or pause; none when it failed, for its error is then the last frame."""
        if turn.reason is EndReason.ERROR:
            return []
        shown = wire.turn_out((*self._before, turn))
        waits = bool(shown["output_message"]["tool_calls"])
        return [{"event_type": "turn_awaiting_input" if waits else "turn_complete", "turn": shown}]

    def _begun(self, event: TurnStarted) -> list[JSON]:
        self._turn_id = self._turn_id or event.turn_id
        if self._given:
            return [_done(wire.given_step(event.turn_id, datetime.now(UTC), self._given, self._turn_id))]
        return [{"event_type": "turn_start", "turn_id": self._turn_id}] if self._announce else []

    def _started(self, event: StepStarted) -> list[JSON]:
        match event.step_type:
            case StepType.INFERENCE:
                self._inferring = True
                begun = _start("inference", event.step_id)
                empty = _progress("inference", event.step_id, {"type": "text", "text": ""})
                return [begun, empty] if self._tools else [begun]
            case StepType.TOOL_EXECUTION:
                self._tools_begun = event.step_id  # shown with the first call that runs here
                return []
            case StepType.SHIELD_CALL:
                return self._in_turn([_start("shield_call", event.step_id, {"touchpoint": event.touchpoint})])
            case _:
                return [_start(str(event.step_type), event.step_id)]

    def _call(self, event: ToolCallStarted) -> list[JSON]:
        delta = {"type": "tool_call", "tool_call": wire.call_out(event.call), "parse_status": "in_progress"}
        progress = _progress("tool_execution", event.step_id, delta)
        if self._tools_begun is None:
            return [progress]
        self._tools_begun = None
        return [_start("tool_execution", event.step_id), progress]

    def _completed(self, event: StepCompleted) -> list[JSON]:
        step = event.step
        if not wire.is_shown(step):
            return []
        done = _done(wire.step_out(step, self._turn_id))
        match step:
            case InferenceStep():
                self._inferring = False
                held, self._held = self._held, []
                calls = step.message.tool_calls if step.message else ()
                return [*(_progress("inference", step.step_id, _delta(call)) for call in calls), done, *held]
            case ToolExecutionStep():
                self._tools_begun = None
                return [done]
            case _:
                return self._in_turn([done])

    def _in_turn(self, payloads: list[JSON]) -> list[JSON]:
        """Holds a shield's payloads back until the inference that it looks at has been shown."""
        if not self._inferring:
            return payloads
        self._held += payloads
        return []


def _done(step: JSON) -> JSON:
    kind, step_id = step["step_type"], step["step_id"]
    return {"event_type": "step_complete", "step_type": kind, "step_id": step_id, "step_details": step}


def _start(step_type: str, step_id: str, metadata: JSON | None = None) -> JSON:
    return {"event_type": "step_start", "step_type": step_type, "step_id": step_id, "metadata": metadata or {}}


def _progress(step_type: str, step_id: str, delta: JSON) -> JSON:
    return {"event_type": "step_progress", "step_type": step_type, "step_id": step_id, "delta": delta}


def _delta(call: ToolCall) -> JSON:
    """A call as the model wrote it; one that cannot be read is text."""
    if call.error is not None:
        return {"type": "tool_call", "tool_call": call.raw or call.error, "parse_status": "failed"}
    return {"type": "tool_call", "tool_call": wire.call_out(call), "parse_status": "succeeded"}
