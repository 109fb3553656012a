"""The turn as a pure state machine. No clock, no I/O: records go in, the next action comes out.

Rules:

* `TABLE` says everything that is legal: in this phase, that mark leads to that phase. Nothing else may happen.
* `advance` takes one record of the log and gives the next state, or raises `IllegalStep`.
* `next_action` looks at a state and names what the driver has to do. It is the only place where a turn's course
  is decided, so a turn that was cut off by a crash goes on from its log exactly as it would have gone on.
* A turn cannot close while a call of its last message has no result (promise 1).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum, auto
from typing import Literal, TypeAlias

from .types.errors import IllegalStep
from .types.messages import AssistantMessage, StopReason
from .types.records import (
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
from .types.steps import (
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
from .types.tools import ToolCall, ToolResponse, ToolStatus
from .types.turns import EndReason, Limits, PendingCall, Turn, TurnStatus

INTERRUPTED = "Interrupted"
"""The `Failure.error` of a step that a dead process left open."""

MAX_SAME_FAILURES = 3
"""How often the identical call may fail in one turn before the turn ends."""


class Phase(StrEnum):
    """Where a turn stands."""

    OPENED = auto()
    CHECKING_INPUT = auto()
    INPUT_CLEARED = auto()
    RETRIEVING = auto()
    READY = auto()
    INFERRING = auto()
    ANSWERED = auto()
    CHECKING_OUTPUT = auto()
    ANSWER_CLEARED = auto()
    CHECKING_CALLS = auto()
    CALLS_CLEARED = auto()
    SUSPENDED = auto()
    CALLING = auto()
    CALLED = auto()
    CHECKING_RESULTS = auto()
    BLOCKED = auto()
    FAILED = auto()
    CLOSED = auto()


class Mark(StrEnum):
    """What a record means to a turn."""

    CHECK_INPUT = auto()
    RETRIEVE = auto()
    INFER = auto()
    CHECK_OUTPUT = auto()
    CHECK_CALLS = auto()
    CALL_TOOLS = auto()
    CHECK_RESULTS = auto()
    DONE = auto()
    OBJECTED = auto()
    FAILED = auto()
    INTERRUPTED = auto()
    CALL_OPENED = auto()
    CALL_CLOSED = auto()
    SUSPEND = auto()
    CONTINUE = auto()
    CLOSE = auto()


P, M = Phase, Mark

TABLE: dict[Phase, dict[Mark, Phase]] = {
    P.OPENED: {
        M.CHECK_INPUT: P.CHECKING_INPUT,
        M.RETRIEVE: P.RETRIEVING,
        M.INFER: P.INFERRING,
        M.CLOSE: P.CLOSED,
    },
    P.CHECKING_INPUT: {
        M.DONE: P.INPUT_CLEARED,
        M.OBJECTED: P.BLOCKED,
        M.FAILED: P.FAILED,
        M.INTERRUPTED: P.OPENED,
    },
    P.INPUT_CLEARED: {
        M.RETRIEVE: P.RETRIEVING,
        M.INFER: P.INFERRING,
        M.CLOSE: P.CLOSED,
    },
    P.RETRIEVING: {M.DONE: P.READY, M.FAILED: P.FAILED, M.INTERRUPTED: P.INPUT_CLEARED},
    P.READY: {M.INFER: P.INFERRING, M.CLOSE: P.CLOSED},
    P.INFERRING: {M.DONE: P.ANSWERED, M.FAILED: P.FAILED, M.INTERRUPTED: P.READY},
    P.ANSWERED: {
        M.CHECK_OUTPUT: P.CHECKING_OUTPUT,
        M.CHECK_CALLS: P.CHECKING_CALLS,
        M.CALL_TOOLS: P.CALLING,
        M.SUSPEND: P.SUSPENDED,
        M.CLOSE: P.CLOSED,
    },
    P.CHECKING_OUTPUT: {
        M.DONE: P.ANSWER_CLEARED,
        M.OBJECTED: P.BLOCKED,
        M.FAILED: P.FAILED,
        M.INTERRUPTED: P.ANSWERED,
    },
    P.ANSWER_CLEARED: {
        M.CHECK_CALLS: P.CHECKING_CALLS,
        M.CALL_TOOLS: P.CALLING,
        M.SUSPEND: P.SUSPENDED,
        M.CLOSE: P.CLOSED,
    },
    P.CHECKING_CALLS: {
        M.DONE: P.CALLS_CLEARED,
        M.OBJECTED: P.BLOCKED,
        M.FAILED: P.FAILED,
        M.INTERRUPTED: P.ANSWER_CLEARED,
    },
    P.CALLS_CLEARED: {M.CALL_TOOLS: P.CALLING, M.SUSPEND: P.SUSPENDED, M.CONTINUE: P.CALLS_CLEARED},
    P.SUSPENDED: {M.CONTINUE: P.CALLS_CLEARED, M.CALL_TOOLS: P.CALLING},
    P.CALLING: {
        M.CALL_OPENED: P.CALLING,
        M.CALL_CLOSED: P.CALLING,
        M.DONE: P.CALLED,
    },
    P.CALLED: {
        M.CHECK_RESULTS: P.CHECKING_RESULTS,
        M.INFER: P.INFERRING,
        M.CLOSE: P.CLOSED,
    },
    P.CHECKING_RESULTS: {
        M.DONE: P.READY,
        M.OBJECTED: P.BLOCKED,
        M.FAILED: P.FAILED,
        M.INTERRUPTED: P.CALLED,
    },
    P.BLOCKED: {M.CALL_TOOLS: P.CALLING, M.CLOSE: P.CLOSED},
    P.FAILED: {M.CALL_TOOLS: P.CALLING, M.CLOSE: P.CLOSED},
    P.CLOSED: {},
}

_SHIELD_MARKS = {
    Touchpoint.INPUT: M.CHECK_INPUT,
    Touchpoint.OUTPUT: M.CHECK_OUTPUT,
    Touchpoint.TOOL_CALL: M.CHECK_CALLS,
    Touchpoint.TOOL_RESULT: M.CHECK_RESULTS,
}

Route: TypeAlias = Literal["run", "approval", "client"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a turn has to go through, as far as its agent's configuration says.

    Attributes:
        input_shields: Shields look at the input.
        output_shields: Shields look at the answer.
        tool_shields: Shields look at calls and at results.
        memory: Banks are searched before the first inference.
        route: Whether a call runs here, wants approval first, or is the caller's to run.
    """

    input_shields: bool = False
    output_shields: bool = False
    tool_shields: bool = False
    memory: bool = False
    route: Callable[[ToolCall], Route] = lambda _call: "run"


@dataclass(frozen=True, slots=True)
class CallState:
    """One call of the model's last message.

    Attributes:
        call: The call.
        opened: Whether its tool has begun to run.
        decision: What the caller decided about it, or None.
        response: Its one result, or None.
    """

    call: ToolCall
    opened: bool = False
    decision: Decision | None = None
    response: ToolResponse | None = None


@dataclass(frozen=True, slots=True)
class TurnState:
    """A turn as its records tell it.

    Attributes:
        turn: The picture of it.
        phase: Where it stands.
        limits: What it may use.
        step: The open step, or None.
        message: The model's last message, or None.
        calls: The calls of that message.
        inferences: How many were begun and not interrupted.
        failures: How often each failing call was made, by the digest of its name and arguments.
    """

    turn: Turn
    phase: Phase
    limits: Limits
    step: Step | None = None
    message: AssistantMessage | None = None
    calls: tuple[CallState, ...] = ()
    inferences: int = 0
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def open_calls(self) -> tuple[CallState, ...]:
        """The calls that have no result yet."""
        return tuple(state for state in self.calls if state.response is None)


# -- what the driver is told to do ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check:
    """Let the shields of a touchpoint look."""

    touchpoint: Touchpoint


@dataclass(frozen=True, slots=True)
class Retrieve:
    """Search the memory banks."""


@dataclass(frozen=True, slots=True)
class Infer:
    """Ask the model."""


@dataclass(frozen=True, slots=True)
class RunTools:
    """Carry out the open calls, or go on with them."""


@dataclass(frozen=True, slots=True)
class Suspend:
    """Wait for the caller."""

    pending: tuple[PendingCall, ...]


@dataclass(frozen=True, slots=True)
class Recover:
    """Close the step that a dead process left open."""


@dataclass(frozen=True, slots=True)
class Settle:
    """Give every open call a result without running it: the turn is about to end."""

    reason: EndReason


@dataclass(frozen=True, slots=True)
class Close:
    """End the turn."""

    reason: EndReason


Action: TypeAlias = Check | Retrieve | Infer | RunTools | Suspend | Recover | Settle | Close


def next_action(state: TurnState, plan: Plan, ending: EndReason | None = None) -> Action | None:
    """Names the next thing to do.

    Args:
        state: The turn so far.
        plan: What the agent's configuration asks for.
        ending: Set by the driver when the turn has to end now (cancelled, out of time).

    Returns:
        The action, or None when there is nothing to do: the turn is closed, or waits for the caller.
    """
    phase = state.phase
    if phase is P.CLOSED:
        return None
    if state.step is not None and phase is not P.CALLING:
        return Recover()
    if not ending and phase is P.ANSWERED and plan.output_shields and state.message and state.message.content:
        return Check(Touchpoint.OUTPUT)
    ending = ending or _ending(state)
    if ending:
        return Settle(ending) if state.open_calls or phase is P.CALLING else Close(ending)
    match phase:
        case P.SUSPENDED:
            return None
        case P.CALLING:
            return RunTools()
        case P.OPENED if plan.input_shields:
            return Check(Touchpoint.INPUT)
        case P.OPENED | P.INPUT_CLEARED if plan.memory:
            return Retrieve()
        case P.ANSWERED | P.ANSWER_CLEARED if plan.tool_shields and state.calls:
            return Check(Touchpoint.TOOL_CALL)
        case P.ANSWERED | P.ANSWER_CLEARED | P.CALLS_CLEARED:
            pending = pending_calls(state, plan)
            return Suspend(pending) if pending else RunTools()
        case P.CALLED if plan.tool_shields:
            return Check(Touchpoint.TOOL_RESULT)
        case _:
            return Infer()


def _ending(state: TurnState) -> EndReason | None:
    """Why the turn has to end in this state, or None when it goes on."""
    phase, limits = state.phase, state.limits
    if state.turn.violation is not None:
        return EndReason.VIOLATION
    if state.turn.failure is not None:
        return EndReason.ERROR
    if phase in (P.ANSWERED, P.ANSWER_CLEARED) and not state.calls:
        cut_off = state.message is not None and state.message.stop_reason is StopReason.OUT_OF_TOKENS
        return EndReason.OUT_OF_TOKENS if cut_off else EndReason.END_OF_TURN
    if phase in (P.SUSPENDED, P.CALLING, P.OPENED, P.INPUT_CLEARED):
        return None
    if any(count >= MAX_SAME_FAILURES for count in state.failures.values()):
        return EndReason.REPEATED_FAILURE
    if state.inferences >= limits.max_infer_iters:
        return EndReason.MAX_INFER_ITERS
    if limits.tokens is not None and state.turn.usage.total >= limits.tokens:
        return EndReason.TOKEN_LIMIT
    return None


def pending_calls(state: TurnState, plan: Plan) -> tuple[PendingCall, ...]:
    """The calls that the caller has to decide on or to run."""
    pending = []
    for item in state.open_calls:
        route = plan.route(item.call) if item.decision is None and item.call.error is None else "run"
        if route != "run":
            pending.append(PendingCall(item.call, route, digest_of(item.call)))
    return tuple(pending)


def digest_of(call: ToolCall) -> str:
    """SHA-256 of a call's name and arguments."""
    text = json.dumps([call.name, call.arguments], sort_keys=True, ensure_ascii=False, default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# -- from records to states -------------------------------------------------------------------------------------------


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
        return TurnState(turn, P.OPENED, record.limits)
    match record:
        case StepOpened():
            return _open_step(state, record.step)
        case StepClosed():
            return _close_step(state, record)
        case CallOpened():
            return _with_call(state, M.CALL_OPENED, record.step_id, record.call_id, None)
        case CallClosed():
            return _with_call(state, M.CALL_CLOSED, record.step_id, record.response.call_id, record.response)
        case TurnSuspended():
            turn = replace(state.turn, status=TurnStatus.AWAITING_INPUT, pending=record.pending)
            return replace(state, turn=turn, phase=_target(state, M.SUSPEND))
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
            phase = _target(state, M.INFER)
            return replace(state, phase=phase, step=step, message=None, calls=(), inferences=state.inferences + 1)
        case ToolExecutionStep():
            return replace(state, phase=_target(state, M.CALL_TOOLS), step=step)
        case ShieldCallStep():
            return replace(state, phase=_target(state, _SHIELD_MARKS[step.touchpoint]), step=step)
        case MemoryRetrievalStep():
            return replace(state, phase=_target(state, M.RETRIEVE), step=step)


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
            phase=_target(state, M.DONE),
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
        case Failure(error=error) if error == INTERRUPTED:
            begun = state.inferences - 1 if isinstance(step, InferenceStep) else state.inferences
            return M.INTERRUPTED, replace(state, inferences=begun)
        case Failure():
            return M.FAILED, replace(state, turn=replace(turn, failure=outcome))
        case Generation(message=message, usage=usage):
            calls = tuple(CallState(call) for call in message.tool_calls)
            if len({item.call.call_id for item in calls}) != len(calls):
                raise IllegalStep("Two calls of one message share an id.")
            turn = replace(turn, usage=turn.usage + usage)
            return M.DONE, replace(state, turn=turn, message=message, calls=calls)
        case Judgement() if outcome.violation:
            return M.OBJECTED, replace(state, turn=replace(turn, violation=outcome.violation))
        case _:
            return M.DONE, state


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
    phase = _target(state, M.CONTINUE)
    decided = {decision.call_id: decision for decision in record.decisions}
    unknown = decided.keys() - {item.call.call_id for item in state.open_calls}
    if unknown:
        raise IllegalStep(f"No call waits under {', '.join(sorted(unknown))}.")
    calls = tuple(replace(item, decision=decided.get(item.call.call_id, item.decision)) for item in state.calls)
    turn = replace(state.turn, status=TurnStatus.RUNNING, pending=())
    return replace(state, phase=phase, calls=calls, turn=turn)


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
    return replace(state, phase=_target(state, M.CLOSE), turn=turn)
