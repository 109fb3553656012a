"""The turn's state machine: whatever models, tools, callers and crashes do, every step is legal (promises 1 and 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic import turn as machine
from agentic.history import History
from agentic.turn import TABLE, Mark, Phase, Plan, Route, advance, next_action
from agentic.types import (
    AssistantMessage,
    EndReason,
    Failure,
    Generation,
    Hit,
    IllegalStep,
    InferenceStep,
    Judgement,
    Limits,
    MemoryRetrievalStep,
    Retrieval,
    SafetyViolation,
    ShieldCallStep,
    StopReason,
    ToolCall,
    ToolExecutionStep,
    ToolResponse,
    ToolStatus,
    Touchpoint,
    Turn,
    TurnStatus,
    Usage,
    UserMessage,
    Verdict,
    from_json,
    to_json,
)
from agentic.types.records import (
    CallClosed,
    CallOpened,
    Decision,
    PromptDelta,
    Record,
    StepClosed,
    StepOpened,
    TurnClosed,
    TurnContinued,
    TurnOpened,
    TurnSuspended,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Stop(Exception):
    """The simulated process dies here."""


@dataclass
class Driver:
    """Performs actions on the pure machine with drawn outcomes; any record may be the last one before a crash."""

    draw: Callable[..., Any]
    plan: Plan
    log: list[Record] = field(default_factory=list)
    history: History = field(default_factory=lambda: History("s"))
    ids: count[int] = field(default_factory=count)
    ran: list[str] = field(default_factory=list)

    def new_id(self, kind: str) -> str:
        return f"{kind}{next(self.ids)}"

    def write(self, record: Record) -> None:
        self.history.apply(record)
        self.log.append(record)
        if self.draw(st.integers(0, 19)) == 0:
            raise Stop

    def open(self) -> None:
        limits = Limits(max_infer_iters=self.draw(st.integers(1, 4)), tokens=self.draw(st.sampled_from([None, 3])))
        self.write(TurnOpened(turn_id=self.new_id("t"), at=NOW, input_messages=(UserMessage("hi"),), limits=limits))

    def drive(self, ending: EndReason | None = None) -> None:
        for _ in range(200):
            state = self.history.state
            if state is None:
                return
            if ending is None and self.draw(st.integers(0, 39)) == 0:
                ending = self.draw(st.sampled_from([EndReason.CANCELLED, EndReason.TIME_LIMIT]))
            action = next_action(state, self.plan, ending)
            if action is None:
                if state.phase is not Phase.SUSPENDED:
                    return
                self.answer_some()
                continue
            self.perform(action)
        raise AssertionError("The turn does not end.")

    def answer_some(self) -> None:
        assert self.history.state is not None
        pending = self.history.state.turn.pending
        assert pending
        chosen = self.draw(st.lists(st.sampled_from(pending), min_size=1, unique_by=lambda item: item.call.call_id))
        decisions = []
        for item in chosen:
            call_id = item.call.call_id
            if item.why == "client":
                decisions.append(Decision(call_id, response=ToolResponse(call_id, item.call.name, "theirs")))
            else:
                decisions.append(Decision(call_id, approved=self.draw(st.booleans())))
        turn_id = self.history.state.turn.turn_id
        self.write(TurnContinued(turn_id=turn_id, at=NOW, decisions=tuple(decisions)))

    def perform(self, action: machine.Action) -> None:
        assert self.history.state is not None
        state = self.history.state
        turn_id = state.turn.turn_id
        match action:
            case machine.Check(touchpoint=touchpoint):
                step = ShieldCallStep(step_id=self.new_id("s"), turn_id=turn_id, started_at=NOW, touchpoint=touchpoint)
                self.write(StepOpened(step=step))
                blocked = self.draw(st.integers(0, 9)) == 0
                verdict = Verdict("shield", SafetyViolation() if blocked else None)
                self.close(step.step_id, Judgement((verdict,)))
            case machine.Withhold(touchpoint=touchpoint):
                step = ShieldCallStep(step_id=self.new_id("s"), turn_id=turn_id, started_at=NOW, touchpoint=touchpoint)
                self.write(StepOpened(step=step))
                self.close(step.step_id, Judgement((Verdict("shield", SafetyViolation("late")),)))
            case machine.Retrieve():
                retrieval = MemoryRetrievalStep(step_id=self.new_id("s"), turn_id=turn_id, started_at=NOW)
                self.write(StepOpened(step=retrieval))
                self.close(retrieval.step_id, Retrieval("q", (Hit("text", 1.0, "d"),), "context"))
            case machine.Infer():
                self.infer(turn_id)
            case machine.RunTools():
                self.run_tools()
            case machine.Suspend(pending=pending):
                self.write(TurnSuspended(turn_id=turn_id, at=NOW, pending=pending))
            case machine.Recover():
                assert state.step is not None
                self.close(state.step.step_id, Failure(machine.INTERRUPTED, "died"))
            case machine.Settle():
                self.open_tool_step()
                for item in self.current().open_calls:
                    self.respond(item.call, ToolStatus.NOT_RUN)
                self.close(self.open_id(), None)
            case machine.Close(reason=reason):
                output = state.message if reason is EndReason.END_OF_TURN else None
                self.write(
                    TurnClosed(
                        turn_id=turn_id,
                        at=NOW,
                        reason=reason,
                        output=output,
                        violation=state.turn.violation,
                        failure=state.turn.failure,
                    )
                )

    def infer(self, turn_id: str) -> None:
        step = InferenceStep(step_id=self.new_id("s"), turn_id=turn_id, started_at=NOW)
        prompt = "".join(message.text for message in self.history.messages) + step.step_id
        self.write(StepOpened(step=step, prompt=self.history.delta_for(step.step_id, prompt)))
        if self.draw(st.integers(0, 9)) == 0:
            self.close(step.step_id, Failure("ServerFailed", "503"))
            return
        names = self.draw(st.lists(st.sampled_from(["plain", "asks", "theirs", "unknown"]), max_size=3))
        calls = tuple(ToolCall(name, {"n": 1}, self.new_id("c")) for name in names)
        text = self.draw(st.sampled_from(["", "text"]))
        stop = self.draw(st.sampled_from(list(StopReason)))
        message = AssistantMessage(text, calls, stop)
        self.close(step.step_id, Generation(message, Usage(1, 1)))

    def run_tools(self) -> None:
        self.open_tool_step()
        for item in self.current().open_calls:
            if item.decision is not None and item.decision.response is not None:
                self.write(CallClosed(step_id=self.open_id(), response=item.decision.response, at=NOW))
            elif item.decision is not None and not item.decision.approved:
                self.respond(item.call, ToolStatus.DENIED)
            elif item.opened:
                self.respond(item.call, ToolStatus.OUTCOME_UNKNOWN)
            else:
                self.write(CallOpened(step_id=self.open_id(), call_id=item.call.call_id, at=NOW))
                self.ran.append(item.call.call_id)
                ok = item.call.name == "plain" and self.draw(st.booleans())
                self.respond(item.call, ToolStatus.OK if ok else ToolStatus.ERROR)
        self.close(self.open_id(), None)

    def open_tool_step(self) -> None:
        state = self.current()
        if state.step is None:
            calls = tuple(item.call for item in state.calls)
            step = ToolExecutionStep(
                step_id=self.new_id("s"), turn_id=state.turn.turn_id, started_at=NOW, tool_calls=calls
            )
            self.write(StepOpened(step=step))

    def current(self) -> machine.TurnState:
        assert self.history.state is not None
        return self.history.state

    def open_id(self) -> str:
        step = self.current().step
        assert step is not None
        return step.step_id

    def respond(self, call: ToolCall, status: ToolStatus) -> None:
        response = ToolResponse(call.call_id, call.name, str(status), status)
        self.write(CallClosed(step_id=self.open_id(), response=response, at=NOW))

    def close(self, step_id: str, outcome: Generation | Judgement | Retrieval | Failure | None) -> None:
        self.write(StepClosed(step_id=step_id, at=NOW, outcome=outcome))


def route(call: ToolCall) -> Route:
    return {"asks": "approval", "theirs": "client"}.get(call.name, "run")  # type: ignore[return-value]


def reopened(log: list[Record]) -> History:
    """What a new process reads: every record through JSON and back."""
    return History("s", [from_json(Record, to_json(record, Record)) for record in log])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_course_of_events_reaches_an_illegal_step_or_leaves_a_call_without_a_result(data: st.DataObject) -> None:
    booleans = st.booleans()
    plan = Plan(
        shields=data.draw(st.frozensets(st.sampled_from(Touchpoint))),
        memory=data.draw(booleans),
        route=route,
    )
    driver = Driver(data.draw, plan)
    for _ in range(data.draw(st.integers(1, 3))):
        for _ in range(30):  # a process after another, until the turn has ended
            try:
                if driver.history.state is None:
                    driver.open()
                abandons = data.draw(st.integers(0, 3)) == 0
                driver.drive(EndReason.INTERRUPTED if abandons and len(driver.log) > 3 else None)
            except Stop:
                driver.history = reopened(driver.log)
            if driver.history.state is None:
                break
        else:
            return  # it died thirty times in one turn: nothing to check
    for turn in driver.history.ended():
        assert turn.status is TurnStatus.COMPLETED
        assert turn.reason is not None
        assert turn.completed_at is not None
        assert len({call.call_id for call in turn.tool_calls}) == len(turn.tool_calls)
        for step in turn.steps:
            if isinstance(step, ToolExecutionStep):
                assert [call.call_id for call in step.tool_calls] == [r.call_id for r in step.tool_responses]
        generated = [
            call.call_id
            for step in turn.steps
            if isinstance(step, InferenceStep) and step.message
            for call in step.message.tool_calls
        ]
        assert generated == [response.call_id for response in turn.tool_responses]
        if Touchpoint.OUTPUT in plan.shields:
            assert not unjudged_answers(turn), "text that no shield had cleared is in the turn"
    assert len(driver.ran) == len(set(driver.ran)), "a call ran twice"
    again = reopened(driver.log)
    assert again.turns == driver.history.turns
    assert again.messages == driver.history.messages


def unjudged_answers(turn: Turn) -> list[str]:
    """The answers whose text no output shield has let through."""
    waiting: list[str] = []
    for step in turn.steps:
        if isinstance(step, InferenceStep) and step.message and step.message.content:
            waiting.append(step.message.content)
        elif isinstance(step, ShieldCallStep) and step.touchpoint is Touchpoint.OUTPUT and step.judgement:
            assert step.judgement.violation is None or not waiting
            waiting.clear()
    return waiting


def test_every_phase_is_in_the_table_and_every_target_is_a_phase() -> None:
    assert set(TABLE) == set(Phase)
    assert {target for marks in TABLE.values() for target in marks.values()} == set(Phase) - {Phase.OPENED} | {
        Phase.OPENED
    }
    assert not TABLE[Phase.CLOSED]
    assert {mark for marks in TABLE.values() for mark in marks} == set(Mark)


def opened(limits: Limits | None = None) -> machine.TurnState:
    record = TurnOpened(turn_id="t", at=NOW, input_messages=(UserMessage("hi"),), limits=limits or Limits())
    return advance(None, record)


def inferred(state: machine.TurnState, message: AssistantMessage, step_id: str = "s1") -> machine.TurnState:
    step = InferenceStep(step_id=step_id, turn_id="t", started_at=NOW)
    state = advance(state, StepOpened(step=step, prompt=PromptDelta(None, 0, "")))
    return advance(state, StepClosed(step_id=step_id, at=NOW, outcome=Generation(message)))


def test_a_turn_begins_by_being_opened() -> None:
    with pytest.raises(IllegalStep, match="begins with turn_opened"):
        advance(None, TurnClosed(turn_id="t", at=NOW, reason=EndReason.ERROR))


def test_a_turn_cannot_close_while_a_call_has_no_result() -> None:
    state = inferred(opened(), AssistantMessage("", (ToolCall("f", {}, "c1"),)))
    with pytest.raises(IllegalStep, match="no result"):
        advance(state, TurnClosed(turn_id="t", at=NOW, reason=EndReason.CANCELLED))
    assert next_action(state, Plan(), EndReason.CANCELLED) == machine.Settle(EndReason.CANCELLED)


def test_calls_of_the_last_allowed_inference_are_answered_and_not_run() -> None:
    state = inferred(opened(Limits(max_infer_iters=1)), AssistantMessage("", (ToolCall("f", {}, "c1"),)))
    assert next_action(state, Plan()) == machine.Settle(EndReason.MAX_INFER_ITERS)


def test_an_answer_passes_its_shields_before_it_ends_the_turn() -> None:
    state = inferred(opened(), AssistantMessage("text"))
    assert next_action(state, Plan(shields=frozenset({Touchpoint.OUTPUT}))) == machine.Check(Touchpoint.OUTPUT)
    assert next_action(state, Plan()) == machine.Close(EndReason.END_OF_TURN)


def test_a_finished_call_cannot_be_finished_again() -> None:
    state = inferred(opened(), AssistantMessage("", (ToolCall("f", {}, "c1"), ToolCall("f", {}, "c2"))))
    calls = tuple(item.call for item in state.calls)
    state = advance(
        state, StepOpened(step=ToolExecutionStep(step_id="s2", turn_id="t", started_at=NOW, tool_calls=calls))
    )
    closed = CallClosed(step_id="s2", response=ToolResponse("c1", "f", "ok"), at=NOW)
    state = advance(state, closed)
    with pytest.raises(IllegalStep, match="already has its result"):
        advance(state, closed)
    with pytest.raises(IllegalStep, match="no call c9"):
        advance(state, CallOpened(step_id="s2", call_id="c9", at=NOW))
    with pytest.raises(IllegalStep, match="no result"):
        advance(state, StepClosed(step_id="s2", at=NOW))


def test_prompts_are_kept_as_what_they_add_and_come_back_whole() -> None:
    driver_prompts = ["abc", "abcdef", "abX", "abXyz", "", "new"]
    history = History("s")
    history.apply(TurnOpened(turn_id="t", at=NOW, input_messages=(UserMessage("hi"),), limits=Limits()))
    for number, prompt in enumerate(driver_prompts):
        step_id = f"s{number}"
        delta = history.delta_for(step_id, prompt)
        step = InferenceStep(step_id=step_id, turn_id="t", started_at=NOW)
        history.apply(StepOpened(step=step, prompt=delta))
        history.apply(StepClosed(step_id=step_id, at=NOW, outcome=Failure(machine.INTERRUPTED, "")))
    assert [history.prompt(f"s{number}") for number in range(len(driver_prompts))] == driver_prompts
