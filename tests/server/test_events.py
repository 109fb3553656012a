"""The order and the shape of a turn's frames, made from the engine's events alone; the recorded exchanges show more."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from agentic.server.llama_stack.events import TurnFrames
from agentic.server.llama_stack.wire import continuation, continues, grouped, turn_out
from agentic.types.events import (
    Event,
    StepCompleted,
    StepStarted,
    TextDelta,
    ToolCallCompleted,
    ToolCallProgress,
    ToolCallStarted,
    ToolProgress,
    TurnCompleted,
    TurnStarted,
)
from agentic.types.messages import AssistantMessage, StopReason, UserMessage
from agentic.types.steps import (
    Failure,
    Generation,
    Hit,
    InferenceStep,
    Judgement,
    MemoryRetrievalStep,
    Retrieval,
    ShieldCallStep,
    StepType,
    ToolExecutionStep,
    Touchpoint,
)
from agentic.types.tools import ToolCall, ToolResponse, ToolStatus
from agentic.types.turns import EndReason, Turn, TurnStatus

AT = datetime(2026, 1, 2, 3, 4, 5, 678, UTC)
CALL = ToolCall("look", {"at": "it"}, "c1")


def infer(text: str, *calls: ToolCall) -> InferenceStep:
    message = AssistantMessage(text, calls, StopReason.END_OF_MESSAGE if calls else StopReason.END_OF_TURN)
    return InferenceStep(step_id="i", turn_id="t", started_at=AT, completed_at=AT, generation=Generation(message))


def tools(status: ToolStatus) -> ToolExecutionStep:
    response = ToolResponse("c1", "look", "seen", status)
    return ToolExecutionStep(
        step_id="x", turn_id="t", started_at=AT, completed_at=AT, tool_calls=(CALL,), tool_responses=(response,)
    )


def turn(*steps: Any, **changes: Any) -> Turn:
    given: dict[str, Any] = {
        "turn_id": "t",
        "session_id": "s",
        "input_messages": (UserMessage("Hi"),),
        "steps": steps,
        "status": TurnStatus.COMPLETED,
        "reason": EndReason.END_OF_TURN,
        "started_at": AT,
        "completed_at": AT,
        **changes,
    }
    return Turn(**given)


def shown(frames: TurnFrames, *events: Event) -> list[str]:
    """Each payload as its event, its step, and what its delta holds."""
    found = []
    for event in events:
        for payload in frames(event):
            delta = payload.get("delta") or {}
            what = [payload["event_type"], payload.get("step_type"), delta.get("text"), delta.get("parse_status")]
            found.append(" ".join(str(part) for part in what if part is not None))
    return found


def test_what_a_shield_looks_at_is_shown_before_the_shield() -> None:
    shield = ShieldCallStep(
        step_id="h", turn_id="t", started_at=AT, completed_at=AT, touchpoint=Touchpoint.OUTPUT, judgement=Judgement()
    )
    events: list[Event] = [
        TurnStarted("t", "s"),
        StepStarted("i", StepType.INFERENCE),
        StepStarted("h", StepType.SHIELD_CALL),
        StepCompleted(shield),
        TextDelta("Hello.", "i"),
        StepCompleted(infer("Hello.")),
        TurnCompleted(turn(infer("Hello."), shield, output=AssistantMessage("Hello."))),
    ]
    assert shown(TurnFrames(), *events) == [
        "step_start inference",
        "step_progress inference Hello.",
        "step_complete inference",
        "step_start shield_call",
        "step_complete shield_call",
        "turn_complete",
    ]


def test_a_step_of_tools_begins_with_the_first_call_that_runs() -> None:
    frames = TurnFrames(tools=True)
    begun: list[Event] = [StepStarted("i", StepType.INFERENCE), ToolCallProgress(0, "look", "{}", "i")]
    assert shown(frames, *begun) == ["step_start inference", "step_progress inference "]
    assert shown(frames, StepCompleted(infer("", CALL))) == [
        "step_progress inference succeeded",
        "step_complete inference",
    ]
    assert shown(frames, StepStarted("x", StepType.TOOL_EXECUTION)) == []
    assert shown(frames, ToolCallStarted(CALL, "x"), ToolCallStarted(CALL, "x")) == [
        "step_start tool_execution",
        "step_progress tool_execution in_progress",
        "step_progress tool_execution in_progress",
    ]
    assert shown(frames, ToolProgress("c1", "half", "x"), ToolProgress("c1", "", "x")) == [
        "step_progress tool_execution half"
    ]
    response = ToolResponse("c1", "look", "seen")
    assert shown(frames, ToolCallCompleted(response, "x"), StepCompleted(tools(ToolStatus.OK))) == [
        "step_complete tool_execution"
    ]


def test_calls_that_were_settled_are_not_shown() -> None:
    frames = TurnFrames()
    step = tools(ToolStatus.NOT_RUN)
    assert shown(frames, StepStarted("x", StepType.TOOL_EXECUTION), StepCompleted(step)) == []
    message = AssistantMessage("", (CALL,), StopReason.END_OF_MESSAGE)
    ended = turn(infer("", CALL), step, reason=EndReason.MAX_INFER_ITERS, output=message)
    (payload,) = frames(TurnCompleted(ended))
    assert payload["event_type"] == "turn_awaiting_input"
    assert payload["turn"]["output_message"]["stop_reason"] == "end_of_turn"
    assert [one["step_type"] for one in payload["turn"]["steps"]] == ["inference"]


def test_what_failed_has_no_frame_of_its_own() -> None:
    failed = InferenceStep(
        step_id="i", turn_id="t", started_at=AT, completed_at=AT, failure=Failure("ServerFailed", "It is down.")
    )
    ended = turn(failed, reason=EndReason.ERROR, failure=failed.failure)
    assert shown(TurnFrames(), StepCompleted(failed), TurnCompleted(ended)) == []
    read = turn_out([ended])
    assert read["error"] == {"type": "ServerFailed", "message": "It is down."}
    assert read["output_message"]["stop_reason"] == "out_of_tokens"


def test_memory_is_a_step_of_its_own() -> None:
    step = MemoryRetrievalStep(
        step_id="m",
        turn_id="t",
        started_at=AT,
        completed_at=AT,
        banks=("a", "b"),
        retrieval=Retrieval("q", (Hit("text", 1.0, "d"),), "the text"),
    )
    frames = TurnFrames()
    assert shown(frames, StepStarted("m", StepType.MEMORY_RETRIEVAL)) == ["step_start memory_retrieval"]
    (payload,) = frames(StepCompleted(step))
    assert payload["step_details"]["vector_db_ids"] == "a,b"
    assert payload["step_details"]["inserted_context"] == "the text"
    assert payload["step_details"]["started_at"] == "2026-01-02T03:04:05.000678Z"


def test_a_turn_that_goes_on_after_its_end_is_one_turn() -> None:
    first = turn(infer("Look at it."), output=AssistantMessage("Look at it."))
    results = [ToolResponse("c9", "look", "seen", metadata={"from": "there"})]
    second = turn(
        infer("I saw it."),
        turn_id="u",
        input_messages=tuple(continuation(results)),
        output=AssistantMessage("I saw it."),
    )
    third = turn(infer("Again."), turn_id="v", output=AssistantMessage("Again."))
    assert [continues(one) for one in (first, second, third)] == [False, True, False]
    assert [[one.turn_id for one in group] for group in grouped([first, second, third])] == [["t", "u"], ["v"]]
    whole = turn_out([first, second])
    assert {step["turn_id"] for step in whole["steps"]} == {"t"}
    assert [step["step_type"] for step in whole["steps"]] == ["inference", "tool_execution", "inference"]
    assert whole["steps"][1]["tool_responses"][0]["metadata"] == {"from": "there"}
    assert len({step["step_id"] for step in whole["steps"]} - {"i"}) == 1
    frames = TurnFrames(before=[first], given=results)
    (payload,) = frames(TurnStarted("u", "s"))
    assert payload["step_details"]["turn_id"] == "t"
    assert payload["step_id"] == whole["steps"][1]["step_id"]
