"""From records to states: each record either leads to the next state or is illegal."""

from __future__ import annotations

from dataclasses import replace

from ..types.content import text_of
from ..types.errors import IllegalStep
from ..types.records import (
    CallClosed,
    CallOpened,
    Decision,
    Record,
    StepClosed,
    StepOpened,
    TurnClosed,
    TurnContinued,
    TurnOpened,
    TurnSuspended,
)
from ..types.sampling import Usage
from ..types.steps import (
    Failure,
    Generation,
    InferenceStep,
    Judgement,
    MemoryRetrievalStep,
    Retrieval,
    ShieldCallStep,
    Step,
    ToolExecutionStep,
    Touchpoint,
)
from ..types.tools import ToolResponse, ToolStatus
from ..types.turns import Turn, TurnStatus
from .action import digest_of
from .state import CallState, TurnState
from .table import TABLE, Mark, Phase

INTERRUPTED = "Interrupted"
"""The `Failure.error` of a step that a dead process left open."""

TRIMMED = "ContextTrimmed"
"""The `Failure.error` of an inference whose prompt the model refused as too long, and that is made again with less."""

_SHIELD_MARKS = {
    Touchpoint.INPUT: Mark.CHECK_INPUT,
    Touchpoint.OUTPUT: Mark.CHECK_OUTPUT,
    Touchpoint.TOOL_CALL: Mark.CHECK_CALLS,
    Touchpoint.TOOL_RESULT: Mark.CHECK_RESULTS,
    Touchpoint.RETRIEVAL: Mark.CHECK_RETRIEVAL,
}


def advance(state: TurnState | None, record: Record, session_id: str = "") -> TurnState:
    """Applies one record.

    Raises:
        IllegalStep: The table, or promise 1, forbids it.
    """
    if state is None:
        if not isinstance(record, TurnOpened):
            raise IllegalStep(f"A turn begins with turn_opened, not {record.record}.")
        turn = Turn(
            turn_id=record.turn_id,
            session_id=session_id,
            input_messages=record.input_messages,
            started_at=record.at,
        )
        return TurnState(turn, Phase.OPENED, record.limits)
    match record:
        case StepOpened():
            return _open_step(state, record.step)
        case StepClosed():
            return _close_step(state, record)
        case CallOpened():
            return _with_call(state, Mark.CALL_OPENED, record.step_id, record.call_id, None)
        case CallClosed():
            return _with_call(state, Mark.CALL_CLOSED, record.step_id, record.response.call_id, record.response)
        case TurnSuspended():
            turn = replace(state.turn, status=TurnStatus.AWAITING_INPUT, pending=record.pending)
            return replace(state, turn=turn, phase=_target(state, Mark.SUSPEND))
        case TurnContinued():
            return _continue(state, record)
        case TurnClosed():
            return _close_turn(state, record)
        case TurnOpened():
            raise IllegalStep("A turn was opened inside another one.")


def _target(state: TurnState, mark: Mark) -> Phase:
    try:
        return TABLE[state.phase][mark]
    except KeyError:
        raise IllegalStep(f"{mark} is illegal while a turn is {state.phase}.") from None


def _open_step(state: TurnState, step: Step) -> TurnState:
    if state.step is not None:
        raise IllegalStep(f"Step {step.step_id} began before step {state.step.step_id} ended.")
    match step:
        case InferenceStep():
            if state.open_calls:
                raise IllegalStep("The model was asked again while a call had no result.")
            phase = _target(state, Mark.INFER)
            state = replace(state, phase=phase, step=step, message=None, calls=(), inferences=state.inferences + 1)
            spent = step.left_out.usage if step.left_out else Usage()
            return replace(state, turn=replace(state.turn, usage=state.turn.usage + spent)) if spent.total else state
        case ToolExecutionStep():
            return replace(state, phase=_target(state, Mark.CALL_TOOLS), step=step)
        case ShieldCallStep():
            return replace(state, phase=_target(state, _SHIELD_MARKS[step.touchpoint]), step=step)
        case MemoryRetrievalStep():
            return replace(state, phase=_target(state, Mark.RETRIEVE), step=step)


def _close_step(state: TurnState, record: StepClosed) -> TurnState:
    step = state.step
    if step is None or step.step_id != record.step_id:
        raise IllegalStep(f"Step {record.step_id} ended but is not the open one.")
    turn, outcome = state.turn, record.outcome
    if isinstance(step, ToolExecutionStep):
        if outcome is not None or state.open_calls:
            raise IllegalStep("A tool execution ended while a call had no result.")
        responses = tuple(item.response for item in state.calls if item.response is not None)
        done: Step = replace(step, completed_at=record.at, tool_responses=responses)
        return replace(
            state,
            phase=_target(state, Mark.DONE),
            step=None,
            turn=replace(turn, steps=(*turn.steps, done)),
            failures=_count_failures(state),
        )
    mark, state = _take_outcome(state, step, outcome)
    if isinstance(outcome, Failure):
        done = replace(step, completed_at=record.at, failure=outcome)
    elif isinstance(step, InferenceStep) and isinstance(outcome, Generation):
        done = replace(step, completed_at=record.at, generation=outcome)
    elif isinstance(step, ShieldCallStep) and isinstance(outcome, Judgement):
        done = replace(step, completed_at=record.at, judgement=outcome)
    elif isinstance(step, MemoryRetrievalStep) and isinstance(outcome, Retrieval):
        done = replace(step, completed_at=record.at, retrieval=outcome)
    else:
        raise IllegalStep(f"A step of type {step.step_type} cannot end with {type(outcome).__name__}.")
    turn = replace(state.turn, steps=(*state.turn.steps, done))
    return replace(state, phase=_target(state, mark), step=None, turn=turn)


def _take_outcome(state: TurnState, step: Step, outcome: object) -> tuple[Mark, TurnState]:
    """What an outcome means for the turn: its mark, and the state with what is to be remembered of it."""
    turn = state.turn
    match outcome:
        case Failure(error=error) if error in (INTERRUPTED, TRIMMED):
            begun = state.inferences - 1 if isinstance(step, InferenceStep) else state.inferences
            return Mark.INTERRUPTED, replace(state, inferences=begun)
        case Failure():
            return Mark.FAILED, replace(state, turn=replace(turn, failure=outcome))
        case Generation(message=message, usage=usage):
            calls = tuple(CallState(call) for call in message.tool_calls)
            if len({item.call.call_id for item in calls}) != len(calls):
                raise IllegalStep("Two calls of one message share an id.")
            turn = replace(turn, usage=turn.usage + usage)
            return Mark.DONE, replace(state, turn=turn, message=message, calls=calls)
        case Retrieval(usage=usage):
            return Mark.DONE, replace(state, turn=replace(turn, usage=turn.usage + usage))
        case Judgement() if isinstance(step, ShieldCallStep):
            return _take_judgement(state, step.touchpoint, outcome)
        case _:
            return Mark.DONE, state


def _take_judgement(state: TurnState, touchpoint: Touchpoint, judgement: Judgement) -> tuple[Mark, TurnState]:
    if judgement.violation:
        state = replace(state, turn=replace(state.turn, violation=judgement.violation))
        if touchpoint is Touchpoint.OUTPUT:
            state = _with_answer(state, judgement.released, "A shield withheld this text.")
        return Mark.OBJECTED, state
    if touchpoint is Touchpoint.OUTPUT and (repaired := judgement.replacements.get("")) is not None:
        state = _with_answer(state, text_of(repaired), "A shield changed this text.")
    if touchpoint is Touchpoint.TOOL_CALL:
        state = replace(state, calls=tuple(replace(item, cleared=True) for item in state.calls))
    return Mark.DONE, state


def _with_answer(state: TurnState, text: str, note: str) -> TurnState:
    """Puts what may be seen in place of the last message's text: from here on only the log has what came."""
    steps = list(state.turn.steps)
    while steps and not isinstance(steps[-1], InferenceStep):  # a check that a crash cut off may have come after it
        steps.pop()
    step = steps[-1] if steps else None
    if state.message is None or not isinstance(step, InferenceStep) or step.generation is None:
        raise IllegalStep("There is no answer that a shield could object to.")
    message = replace(state.message, content=text, notes=(*state.message.notes, note))
    changed = replace(step, generation=replace(step.generation, message=message, raw=None))
    steps = [changed if one is step else one for one in state.turn.steps]
    return replace(state, message=message, turn=replace(state.turn, steps=tuple(steps)))


def _count_failures(state: TurnState) -> dict[str, int]:
    """Counts a failing call once a message, however often the message repeats it."""
    failed = {
        digest_of(item.call)
        for item in state.calls
        if item.response is not None and item.response.status is not ToolStatus.OK
    }
    return {**state.failures, **{digest: state.failures.get(digest, 0) + 1 for digest in failed}}


def _with_call(state: TurnState, mark: Mark, step_id: str, call_id: str, response: ToolResponse | None) -> TurnState:
    phase = _target(state, mark)
    if state.step is None or state.step.step_id != step_id:
        raise IllegalStep(f"Call {call_id} belongs to step {step_id}, which is not open.")
    calls = list(state.calls)
    for index, item in enumerate(calls):
        if item.call.call_id == call_id:
            if item.response is not None:
                raise IllegalStep(f"Call {call_id} already has its result.")
            calls[index] = replace(item, opened=True) if response is None else replace(item, response=response)
            return replace(state, phase=phase, calls=tuple(calls))
    raise IllegalStep(f"There is no call {call_id} in this message.")


def _continue(state: TurnState, record: TurnContinued) -> TurnState:
    phase = _target(state, Mark.CONTINUE)
    decided = {decision.call_id: decision for decision in record.decisions}
    unknown = decided.keys() - {item.call.call_id for item in state.open_calls}
    if unknown:
        raise IllegalStep(f"No call waits under {', '.join(sorted(unknown))}.")
    calls = tuple(_decide(item, decided.get(item.call.call_id)) for item in state.calls)
    turn = replace(state.turn, status=TurnStatus.RUNNING, pending=())
    return replace(state, phase=phase, calls=calls, turn=turn)


def _decide(item: CallState, decision: Decision | None) -> CallState:
    if decision is None:
        return item
    return replace(item, decision=decision, cleared=item.cleared and decision.arguments is None)


def _close_turn(state: TurnState, record: TurnClosed) -> TurnState:
    if state.open_calls:
        raise IllegalStep("A turn ended while a call had no result.")
    turn = replace(
        state.turn,
        status=TurnStatus.COMPLETED,
        reason=record.reason,
        output=record.output,
        violation=record.violation,
        failure=record.failure,
        pending=(),
        completed_at=record.at,
    )
    return replace(state, phase=_target(state, Mark.CLOSE), turn=turn)
