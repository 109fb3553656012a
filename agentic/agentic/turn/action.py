"""What comes next: the only place where a turn's course is decided."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..types.messages import StopReason
from ..types.steps import Touchpoint
from ..types.tools import ToolCall
from ..types.turns import EndReason, PendingCall
from .state import TurnState
from .table import Phase

MAX_SAME_FAILURES = 3
"""How often the identical call may fail in one turn before the turn ends."""

MAX_FAILURES = 10
"""How many different failing calls a turn bears, repeats counted, before it ends."""

Route: TypeAlias = Literal["run", "approval", "client"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a turn has to go through, as far as its agent's configuration says.

    Attributes:
        shields: Where shields look.
        memory: Banks are searched before the first inference.
        route: Whether a call runs here, wants approval first, or is the caller's to run.
    """

    shields: frozenset[Touchpoint] = frozenset()
    memory: bool = False
    route: Callable[[ToolCall], Route] = lambda _call: "run"


@dataclass(frozen=True, slots=True)
class Check:
    """Let the shields of a touchpoint look."""

    touchpoint: Touchpoint


@dataclass(frozen=True, slots=True)
class Withhold:
    """Record that the shields of a touchpoint did not come to look: what they would have seen must not pass."""

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


Action: TypeAlias = Check | Withhold | Retrieve | Infer | RunTools | Suspend | Recover | Settle | Close


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
    if phase is Phase.CLOSED:
        return None
    if state.step is not None and phase is not Phase.CALLING:
        return Recover()
    if touchpoint := _unjudged(state, plan):
        return Withhold(touchpoint) if ending else Check(touchpoint)
    ending = ending or _ending(state)
    if ending:
        return Settle(ending) if state.open_calls or phase is Phase.CALLING else Close(ending)
    match phase:
        case Phase.SUSPENDED:
            return None
        case Phase.CALLING:
            return RunTools()
        case Phase.OPENED | Phase.INPUT_CLEARED if plan.memory:
            return Retrieve()
        case Phase.ANSWERED | Phase.ANSWER_CLEARED | Phase.CALLS_CLEARED if _uncleared_calls(state, plan):
            return Check(Touchpoint.TOOL_CALL)
        case Phase.ANSWERED | Phase.ANSWER_CLEARED | Phase.CALLS_CLEARED:
            pending = pending_calls(state, plan)
            return Suspend(pending) if pending else RunTools()
        case _:
            return Infer()


def _unjudged(state: TurnState, plan: Plan) -> Touchpoint | None:
    """Where there is content that shields have to see before anybody else does; calls are judged only if they run."""
    match state.phase:
        case Phase.OPENED if Touchpoint.INPUT in plan.shields:
            return Touchpoint.INPUT
        case Phase.RETRIEVED if Touchpoint.RETRIEVAL in plan.shields and state.retrieved:
            return Touchpoint.RETRIEVAL
        case Phase.ANSWERED if Touchpoint.OUTPUT in plan.shields and state.message and state.message.content:
            return Touchpoint.OUTPUT
        case Phase.CALLED if Touchpoint.TOOL_RESULT in plan.shields and state.turn.violation is None:
            return Touchpoint.TOOL_RESULT
    return None


def _uncleared_calls(state: TurnState, plan: Plan) -> bool:
    """Whether calls would run with arguments that no shield has seen: the model's, or what the caller made of them."""
    return Touchpoint.TOOL_CALL in plan.shields and any(not item.cleared for item in state.open_calls)


def _ending(state: TurnState) -> EndReason | None:
    """Why the turn has to end in this state, or None when it goes on."""
    phase, limits = state.phase, state.limits
    if state.turn.violation is not None:
        return EndReason.VIOLATION
    if state.turn.failure is not None:
        return EndReason.ERROR
    if phase in (Phase.ANSWERED, Phase.ANSWER_CLEARED) and not state.calls:
        cut_off = state.message is not None and state.message.stop_reason is StopReason.OUT_OF_TOKENS
        return EndReason.OUT_OF_TOKENS if cut_off else EndReason.END_OF_TURN
    if phase in (Phase.SUSPENDED, Phase.CALLING, Phase.OPENED, Phase.INPUT_CLEARED):
        return None
    failures = state.failures.values()
    if failures and (max(failures) >= MAX_SAME_FAILURES or sum(failures) >= MAX_FAILURES):
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
