"""A turn run again on its recording."""

from __future__ import annotations

from collections.abc import Sequence

from ..context import ALONE
from ..history import History
from ..journal import Journal, new_id, now, silent
from ..orchestrator import Run
from ..protocols import Prepared
from ..safeguard import Safeguard
from ..setup import Setup
from ..store import Lease, Store
from ..turn import INTERRUPTED, TRIMMED, Route, TurnState
from ..types.errors import AgenticError, ContextOverflow, NotFound
from ..types.events import Event
from ..types.records import Record, TurnClosed
from ..types.sampling import Completion
from ..types.steps import (
    Failure,
    Generation,
    InferenceStep,
    Judgement,
    LeftOut,
    MemoryRetrievalStep,
    Outcome,
    Retrieval,
    ShieldCallStep,
    Touchpoint,
)
from ..types.tools import ToolCall, ToolResponse, ToolStatus
from ..types.turns import Turn
from .recording import Cut, Missing, Recording


class Paper(Journal):
    """A journal that ends where the recording ends."""

    def __init__(self, recording: Recording, history: History, store: Store, lease: Lease) -> None:
        super().__init__(history, store, lease, silent)
        self.recording = recording
        self._written = 0

    def log(self, record: Record, *events: Event) -> TurnState:
        """As the journal does it."""
        closed = self.recording.closed
        if closed is None and self._written >= self.recording.length:
            raise Cut
        closes_otherwise = isinstance(record, TurnClosed) and closed is not None and record.reason is not closed.reason
        if closes_otherwise and self.recording.ended_from_outside:
            raise Cut
        self._written += 1
        return super().log(record, *events)

    def open_call(self, call: ToolCall) -> None:
        """As the journal does it; a call that never started does not start now."""
        found = self.recording.responses.get(call.call_id)
        if found is not None and found.status is ToolStatus.NOT_RUN:
            raise self.recording.stop_at(call)
        super().open_call(call)


class Player(Run):
    """A turn on its way again: every effect is taken from the recording.

    Args:
        setup: The agent.
        paper: Where the turn is written.
        own: Whether prompts and routes are the agent's own; otherwise they are the recorded ones.
    """

    def __init__(self, setup: Setup, paper: Paper, *, own: bool) -> None:
        super().__init__(setup, paper)
        self._recording = paper.recording
        self._safeguard = _Shields(setup, paper, paper.recording)
        self._own = own
        self._outcome: Outcome | None = None

    async def play(self) -> str:
        """Runs the turn to where the recording leads; returns what was asked for in vain, if anything was."""
        history, recording = self._journal.history, self._recording
        going = self.begin(recording.opened.input_messages, recording.opened.limits)
        for _ in range(recording.length + 1):
            stopped = False
            try:
                await going
            except Cut:
                stopped = True
            except Missing as missing:
                return str(missing)
            except Exception:  # the recorded failure of a step, which the turn has closed with
                return ""
            if history.state is None:
                return ""
            if stopped and not (recording.over and recording.ended_from_outside):
                going = self.resume()
            elif not stopped and recording.decisions:
                going = self.resume(recording.decisions.popleft())
            elif recording.closed is not None and recording.ended_from_outside:
                going = self.abandon(recording.closed.reason)
            else:
                return ""
        going.close()
        return "it does not come to an end"

    def _route(self, call: ToolCall) -> Route:
        return super()._route(call) if self._own else self._recording.routes.get(call.call_id, "run")

    async def _fitted(self, turn: Turn) -> tuple[Prepared, LeftOut]:
        step, self._outcome = self._recording.next(InferenceStep, "the model is asked once more")
        left_out = step.left_out or LeftOut()
        request = self._request(turn, self._journal.history.window.shown(left_out))
        try:
            prompt = self._recording.history.prompt(step.step_id)
        except NotFound:  # it failed before there was one
            if isinstance(self._outcome, Failure):
                raise _error(self._outcome) from None
            prompt = ""
        return await self._setup.inference.prepare(request) if self._own else Prepared(prompt, request), left_out

    async def _generate(self, _prepared: Prepared, _step_id: str) -> Completion:
        match self._outcome:
            case Generation(message=message, usage=usage, raw=raw):
                return Completion(message, usage, raw)
            case Failure(error=error) as failure if error != INTERRUPTED:
                raise _error(failure)
            case _:
                raise Cut

    def _overflow(self, error: ContextOverflow, left_out: LeftOut) -> None:
        """What to do about it is the agent's own matter, which only the recording knows where there is no agent."""
        if self._own or not isinstance(self._outcome, Failure):
            super()._overflow(error, left_out)
        elif self._outcome.error == TRIMMED:
            self._journal.close_step(self._outcome)
        else:
            self._fail(error)

    async def _retrieve(self) -> None:
        _, self._outcome = self._recording.next(MemoryRetrievalStep, "memory is searched")
        await super()._retrieve()

    async def _recall(self) -> Retrieval:
        match self._outcome:
            case Retrieval() as found:
                return found
            case Failure(error=error) as failure if error != INTERRUPTED:
                raise _error(failure)
            case _:
                raise Cut

    async def _execute_together(self, stage: Sequence[ToolCall]) -> None:
        stopped: list[BaseException] = []
        for call in stage:
            response = self._recording.responses.get(call.call_id)
            if response is not None and response.status not in (ToolStatus.NOT_RUN, ToolStatus.OUTCOME_UNKNOWN):
                self._journal.close_call(response)
            else:
                stopped.append(self._recording.stop_at(call))
        if stopped:
            raise stopped[0]


class _Shields(Safeguard):
    """Shields whose verdicts are recorded."""

    def __init__(self, setup: Setup, journal: Journal, recording: Recording) -> None:
        super().__init__(setup, journal)
        self._recording = recording

    async def check(self, touchpoint: Touchpoint) -> None:
        """As they judged then."""
        if self._recording.over:
            raise Cut
        self.withhold(touchpoint)

    def withhold(self, touchpoint: Touchpoint) -> None:
        """As they were withheld then."""
        _, outcome = self._recording.next(ShieldCallStep, f"shields look at {touchpoint}", touchpoint)
        turn_id = self._journal.state.turn.turn_id
        self._journal.open_step(
            ShieldCallStep(step_id=new_id(), turn_id=turn_id, started_at=now(), touchpoint=touchpoint)
        )
        if not isinstance(outcome, Judgement):
            raise Cut
        self._journal.close_step(outcome, tell=False)

    def conceal(self, response: ToolResponse) -> ToolResponse:
        """As it was recorded."""
        return self._recording.responses.get(response.call_id, response)


def _error(failure: Failure) -> Exception:
    """An error that is recorded as this one was."""
    if failure.error in (TRIMMED, ContextOverflow.__name__):
        said = failure.message.removesuffix(ALONE)
        return ContextOverflow(said.rstrip(), hint=ALONE if said != failure.message else "")
    return type(failure.error, (AgenticError,), {})(failure.message)  # type: ignore[no-any-return]
