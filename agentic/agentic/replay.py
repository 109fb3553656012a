"""Stored turns run again, on what the log recorded instead of the world.

Models, tools, banks and shields are not asked: what they answered then is played back, and the turns are decided anew
by the code and the agent of today. Where that leads elsewhere, the differences say where and how.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from .context import ALONE
from .history import History
from .journal import Journal, new_id, now, silent
from .orchestrator import Run
from .protocols import Delta, Prepared
from .safeguard import NOT_SEEN, Safeguard
from .setup import Setup
from .store import Lease, MemoryStore, Store
from .turn import INTERRUPTED, TRIMMED, Route, TurnState
from .types.errors import AgenticError, ContextOverflow, NotFound
from .types.events import Event
from .types.records import (
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
from .types.sampling import Completion, InferenceRequest
from .types.serialise import to_dict
from .types.steps import (
    Failure,
    Generation,
    Hit,
    InferenceStep,
    Judgement,
    LeftOut,
    MemoryRetrievalStep,
    Outcome,
    Retrieval,
    ShieldCallStep,
    Step,
    Touchpoint,
    Verdict,
)
from .types.tools import ToolCall, ToolResponse, ToolStatus
from .types.turns import EndReason, Turn

StepT = TypeVar("StepT", InferenceStep, MemoryRetrievalStep, ShieldCallStep)

_FROM_OUTSIDE = {EndReason.INTERRUPTED, EndReason.CANCELLED, EndReason.TIME_LIMIT, EndReason.TOKEN_LIMIT}
_NOT_COMPARED = {"step_id", "turn_id", "session_id", "started_at", "completed_at", "steps", "input_messages"}
_PROMPT = "exact prompt"
_OF_THE_AGENT = {_PROMPT, "prompt", "model"}
"""What may differ without the conversation being another one."""
_EXCERPT = 80


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a replay went another way.

    Attributes:
        turn: The turn's number, from 1.
        step: The step's number in it, from 1; None for the turn as a whole.
        what: Which part of it.
        recorded: What the log says, from shortly before the first character that differs.
        replayed: What came out now, likewise.
    """

    turn: int
    step: int | None
    what: str
    recorded: str
    replayed: str

    def __str__(self) -> str:
        where = f"turn {self.turn}" if self.step is None else f"turn {self.turn}, step {self.step}"
        return f"{where}: {self.what} was {self.recorded}, is now {self.replayed}"


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of running stored turns again.

    Attributes:
        turns: How many were run.
        differences: In order; empty when every step came out as recorded.
    """

    turns: int
    differences: tuple[Difference, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


async def replay(
    session_id: str, records: Sequence[Record], setup: Setup | None = None, turn_id: str | None = None
) -> Replay:
    """Runs stored turns again.

    Args:
        session_id: The session.
        records: Its log.
        setup: The agent of today. None takes what the log tells of the agent, and the prompts as they were recorded.
        turn_id: The one turn to run; None runs all of them.

    Raises:
        NotFound: There is no such turn.
    """
    recorded, parts = History(session_id, records), list(_by_turn(records))
    numbers = [number for number, turn in enumerate(recorded.turns) if turn_id in (None, turn.turn_id)]
    if turn_id is not None and not numbers:
        raise NotFound(f"Session {session_id!r} has no turn {turn_id!r}.")
    differences: list[Difference] = []
    store = MemoryStore()
    await store.create("replay")
    lease = await store.acquire("replay")
    before: History | None = None
    for number in numbers:
        if before is None:
            before = History(session_id, (record for part in parts[:number] for record in part))
        history, before = before, None
        recording = _Recording(parts[number], recorded)
        missing = await _Player(setup or _told_by(recording), history, recording, own=setup is not None).play(
            store, lease
        )
        found = list(_compare(number + 1, (recorded, recorded.turns[number]), (history, history.turns[-1])))
        if missing:
            found.append(Difference(number + 1, None, "the turn", "over here", f"at what was not recorded: {missing}"))
        differences += found
        if history.state is None and all(one.what in _OF_THE_AGENT for one in found):
            before = history
    return Replay(len(numbers), tuple(differences))


def _by_turn(records: Sequence[Record]) -> Iterator[list[Record]]:
    part: list[Record] = []
    for record in records:
        if isinstance(record, TurnOpened) and part:
            yield part
            part = []
        part.append(record)
    if part:
        yield part


class _Cut(BaseException):
    """The recording stops here: the process died, or somebody ended the turn."""


class _Missing(BaseException):
    """Something is asked for that was never recorded."""


class _Recording:
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
            raise _Cut if step is None and self.ended_from_outside else _Missing(asked)
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
            return _Missing(f"call {call.call_id} is run")
        self._stopped.add(call.call_id)
        return _Cut()


class _Player(Run):
    """A turn on its way again: every effect is taken from the recording."""

    def __init__(self, setup: Setup, history: History, recording: _Recording, *, own: bool) -> None:
        self._history = history
        self._recording = recording
        self._own = own
        self._given = setup
        self._outcome: Outcome | None = None

    async def play(self, store: Store, lease: Lease) -> str:
        """Runs the turn to where the recording leads; returns what was asked for in vain, if anything was."""
        journal, recording = _Paper(self._history, store, lease, silent), self._recording
        journal.recording = recording
        super().__init__(self._given, journal)
        self._safeguard = _Shields(self._given, journal, recording)
        opened = recording.opened
        going = self.begin(opened.input_messages, opened.limits)
        for _ in range(recording.length + 1):
            stopped = False
            try:
                await going
            except _Cut:
                stopped = True
            except _Missing as missing:
                return str(missing)
            except Exception:  # the recorded failure of a step, which the turn has closed with
                return ""
            if self._history.state is None:
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
                raise _Cut

    async def _recall(self) -> Retrieval:
        _, outcome = self._recording.next(MemoryRetrievalStep, "memory is searched")
        if isinstance(outcome, Retrieval):
            return outcome
        if isinstance(outcome, Failure) and outcome.error != INTERRUPTED:
            raise _error(outcome)
        raise _Cut

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


class _Paper(Journal):
    """A journal that ends where the recording ends."""

    recording: _Recording
    written = 0

    def log(self, record: Record, *events: Event) -> TurnState:
        """As the journal does it."""
        closed = self.recording.closed
        if closed is None and self.written >= self.recording.length:
            raise _Cut
        closes_otherwise = isinstance(record, TurnClosed) and closed is not None and record.reason is not closed.reason
        if closes_otherwise and self.recording.ended_from_outside:
            raise _Cut
        self.written += 1
        return super().log(record, *events)

    def open_call(self, call: ToolCall) -> None:
        """As the journal does it; a call that never started does not start now."""
        found = self.recording.responses.get(call.call_id)
        if found is not None and found.status is ToolStatus.NOT_RUN:
            raise self.recording.stop_at(call)
        super().open_call(call)


class _Shields(Safeguard):
    """Shields whose verdicts are recorded."""

    def __init__(self, setup: Setup, journal: Journal, recording: _Recording) -> None:
        super().__init__(setup, journal)
        self._recording = recording

    async def check(self, touchpoint: Touchpoint) -> None:
        """As they judged then."""
        if self._recording.over:
            raise _Cut
        self.withhold(touchpoint)

    def withhold(self, touchpoint: Touchpoint) -> None:
        """As they were withheld then."""
        _, outcome = self._recording.next(ShieldCallStep, f"shields look at {touchpoint}", touchpoint)
        turn_id = self._journal.state.turn.turn_id
        self._journal.open_step(
            ShieldCallStep(step_id=new_id(), turn_id=turn_id, started_at=now(), touchpoint=touchpoint)
        )
        if not isinstance(outcome, Judgement):
            raise _Cut
        self._journal.close_step(outcome, tell=False)

    def conceal(self, response: ToolResponse) -> ToolResponse:
        """As it was recorded."""
        return self._recording.responses.get(response.call_id, response)


def _error(failure: Failure) -> Exception:
    """An error that is recorded as this one was."""
    if failure.error in (TRIMMED, ContextOverflow.__name__):
        return ContextOverflow(failure.message.removesuffix(ALONE).rstrip())
    return type(failure.error, (AgenticError,), {})(failure.message)  # type: ignore[no-any-return]


# -- an agent, as far as a log tells of it ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Name:
    """Stands for a model, a bank or a shield that only its name is known of; it is never asked."""

    model: str = ""
    name: str = ""
    shield_id: str = ""

    async def prepare(self, request: InferenceRequest) -> Prepared:
        raise NotImplementedError

    def generate(self, prepared: Prepared) -> AsyncIterator[Delta]:
        raise NotImplementedError

    async def aquery(self, query: str, *, k: int = 5) -> Sequence[Hit]:
        raise NotImplementedError

    async def check(self, messages: Sequence[Any]) -> Verdict:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError


def _told_by(recording: _Recording) -> Setup:
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


# -- comparing --------------------------------------------------------------------------------------------------------


def _compare(number: int, recorded: tuple[History, Turn], replayed: tuple[History, Turn]) -> Iterator[Difference]:
    (_, then), (_, now_) = recorded, replayed
    for place, (old, new) in enumerate(zip(then.steps, now_.steps, strict=False), 1):
        if old.step_type != new.step_type:
            yield Difference(number, place, "the kind of step", old.step_type, new.step_type)
            return
        before, after = _plain(recorded[0], old), _plain(replayed[0], new)
        for what in before:
            if before[what] != after.get(what):
                yield Difference(number, place, what, *_excerpts(before[what], after.get(what)))
    if len(then.steps) != len(now_.steps):
        yield Difference(number, None, "the number of steps", str(len(then.steps)), str(len(now_.steps)))
    before, after = _plain(recorded[0], then), _plain(replayed[0], now_)
    for what in before:
        if before[what] != after[what]:
            yield Difference(number, None, what, *_excerpts(before[what], after[what]))


def _plain(history: History, value: Step | Turn) -> dict[str, Any]:
    data = {key: item for key, item in to_dict(value).items() if key not in _NOT_COMPARED}
    if isinstance(value, InferenceStep):
        try:
            data[_PROMPT] = history.prompt(value.step_id)
        except NotFound:
            data[_PROMPT] = None
    return data


def _excerpts(one: Any, other: Any) -> tuple[str, str]:
    texts = [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in (one, other)]
    first = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
    start = max(0, first - _EXCERPT // 4)
    return (_excerpt(texts[0], start), _excerpt(texts[1], start))


def _excerpt(text: str, start: int) -> str:
    end = start + _EXCERPT
    return f"{'…' if start else ''}{text[start:end]!r}{'…' if end < len(text) else ''}"
