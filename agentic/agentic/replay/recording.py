"""What the log holds of one turn, to be played back, and what it tells of the agent behind it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..history import History
from ..protocols import Delta, Prepared
from ..safeguard import NOT_SEEN
from ..setup import Setup
from ..turn import Route
from ..types.errors import IllegalStep
from ..types.records import (
    CallClosed,
    Decision,
    Record,
    StepClosed,
    StepOpened,
    TurnClosed,
    TurnContinued,
    TurnOpened,
    TurnSuspended,
)
from ..types.sampling import InferenceRequest
from ..types.steps import (
    Hit,
    InferenceStep,
    Judgement,
    MemoryRetrievalStep,
    Outcome,
    ShieldCallStep,
    Step,
    Touchpoint,
    Verdict,
)
from ..types.tools import ToolCall, ToolResponse
from ..types.turns import EndReason

StepT = TypeVar("StepT", InferenceStep, MemoryRetrievalStep, ShieldCallStep)

_FROM_OUTSIDE = {EndReason.INTERRUPTED, EndReason.CANCELLED, EndReason.TIME_LIMIT, EndReason.TOKEN_LIMIT}


class Cut(BaseException):
    """The recording stops here: the process died, or somebody ended the turn."""


class Missing(BaseException):
    """Something is asked for that was never recorded."""


class Recording:
    """What one turn left behind, handed out in the order in which it came."""

    def __init__(self, records: Sequence[Record], history: History) -> None:
        self.history = history
        self.length = len(records)
        self.steps: deque[tuple[Step, Outcome | None]] = deque()
        self.responses: dict[str, ToolResponse] = {}
        self.decisions: deque[tuple[Decision, ...]] = deque()
        self.routes: dict[str, Route] = {}
        self.closed: TurnClosed | None = None
        self._stopped: set[str] = set()
        outcomes = {record.step_id: record.outcome for record in records if isinstance(record, StepClosed)}
        for record in records:
            match record:
                case TurnOpened():
                    self.opened = record
                case StepOpened(step=InferenceStep() | MemoryRetrievalStep() | ShieldCallStep() as step):
                    self.steps.append((step, outcomes.get(step.step_id)))
                case CallClosed(response=response):
                    self.responses[response.call_id] = response
                case TurnSuspended(pending=pending):
                    self.routes |= {item.call.call_id: item.why for item in pending}
                case TurnContinued(decisions=decisions):
                    self.decisions.append(decisions)
                case TurnClosed():
                    self.closed = record

    @property
    def ended_from_outside(self) -> bool:
        """Whether the turn stopped for a reason that is not in the log, or has not stopped."""
        return self.closed is None or self.closed.reason in _FROM_OUTSIDE

    def next(self, kind: type[StepT], asked: str, touchpoint: Touchpoint | None = None) -> tuple[StepT, Outcome | None]:
        """The next step, if it is of that kind."""
        step, outcome = self.steps[0] if self.steps else (None, None)
        fits = isinstance(step, kind) and touchpoint in (None, getattr(step, "touchpoint", None))
        if not isinstance(step, kind) or not fits:
            raise Cut if step is None and self.ended_from_outside else Missing(asked)
        self.steps.popleft()
        return step, outcome

    @property
    def over(self) -> bool:
        """Whether the turn was only ended from here on: what its shields had not seen was withheld."""
        _, outcome = self.steps[0] if self.steps else (None, None)
        withheld = isinstance(outcome, Judgement) and all(one.error == NOT_SEEN for one in outcome.verdicts)
        return not self.steps or (withheld and self.ended_from_outside)

    def stop_at(self, call: ToolCall) -> BaseException:
        """What a call without a result of its own leads to: the end of the process, but not twice."""
        if call.call_id in self._stopped or not (call.call_id in self.responses or self.ended_from_outside):
            return Missing(f"call {call.call_id} is run")
        self._stopped.add(call.call_id)
        return Cut()


def _asked(*given: object) -> IllegalStep:
    return IllegalStep(f"A replay has asked what only stands for a recorded name: {given!r:.200}")


@dataclass(frozen=True, slots=True)
class _Name:
    """Stands for a model, a bank or a shield that only its name is known of; it is never asked."""

    model: str = ""
    name: str = ""
    shield_id: str = ""

    async def prepare(self, request: InferenceRequest) -> Prepared:
        raise _asked(request)

    def generate(self, prepared: Prepared) -> AsyncIterator[Delta]:
        raise _asked(prepared)

    async def aquery(self, query: str, *, k: int = 5) -> Sequence[Hit]:
        raise _asked(query, k)

    async def check(self, messages: Sequence[Any]) -> Verdict:
        raise _asked(messages)

    async def aclose(self) -> None:
        raise _asked()


def told_by(recording: Recording) -> Setup:
    """The agent, as far as a recording tells of it."""
    steps = [step for step, _ in recording.steps]
    inferences = [step for step in steps if isinstance(step, InferenceStep)]
    places = {step.touchpoint for step in steps if isinstance(step, ShieldCallStep)}
    banks = next((step.banks for step in steps if isinstance(step, MemoryRetrievalStep)), ())
    return Setup(
        inference=_Name(model=inferences[0].model if inferences else ""),
        prompt=inferences[0].prompt if inferences else "",
        limits=recording.opened.limits,
        memory=[_Name(name=bank) for bank in banks],
        shields={place: [_Name(shield_id="recorded")] for place in places},
    )
