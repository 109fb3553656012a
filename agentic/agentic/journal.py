"""How a turn writes: records to the store, then events to whoever listens."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from .history import History
from .store import Lease, Store
from .turn import TurnState
from .types.content import storable
from .types.errors import AgenticError, IllegalStep, words
from .types.events import Event, StepCompleted, StepStarted, ToolCallCompleted, ToolCallStarted
from .types.records import CallClosed, CallOpened, PromptDelta, Record, StepClosed, StepOpened, TurnClosed
from .types.steps import Failure, Outcome, ShieldCallStep, Step, StepType, ToolExecutionStep
from .types.tools import ToolCall, ToolResponse

Emit = Callable[[Event], None]


def silent(_event: Event) -> None:
    """Where events go that nobody reads."""


class Journal:
    """The one writer of one session, for as long as it holds the lease.

    Records are collected and go to the store together, in one transaction, when `flush` is called: before an effect
    begins and when something has to be told. An event is sent after the record behind it is in the store.

    Args:
        history: The session so far; it takes in every record at once.
        store: Where records go.
        lease: The right to write them.
        emit: Gets every event.
        release: Give the lease back with the end of the turn.
    """

    def __init__(self, history: History, store: Store, lease: Lease, emit: Emit, *, release: bool = False) -> None:
        self.history = history
        self.emit = emit
        self._store = store
        self._lease = lease
        self._release = release
        self._records: list[Record] = []
        self._events: list[Event] = []
        self._broken: BaseException | None = None

    @property
    def state(self) -> TurnState:
        """The open turn."""
        if self.history.state is None:
            raise IllegalStep("No turn is open.")
        return self.history.state

    @property
    def step(self) -> Step:
        """The open step."""
        if self.state.step is None:
            raise IllegalStep("No step is open.")
        return self.state.step

    @property
    def heard(self) -> bool:
        """Whether somebody listens to the events."""
        return self.emit is not silent

    def log(self, record: Record, *events: Event) -> TurnState:
        """Takes in a record; its events follow it."""
        state = self.history.apply(record)
        self._records.append(record)
        self._events.extend(events)
        return state

    def tell(self, event: Event) -> None:
        """Sends an event once everything logged so far is in the store."""
        self._events.append(event)

    async def flush(self) -> None:
        """Writes what was logged, in one transaction, and sends the events.

        Raises:
            StoreError: Nothing of it was written, and none of its events was sent.
        """
        if self._broken is not None:
            raise self._broken
        if self._records:
            records, self._records = self._records, []
            end = self._lease.seq + len(records)
            release = self._release and isinstance(records[-1], TurnClosed)
            try:
                await self._store.append(self._lease, records, release=release)
            except BaseException as error:
                if self._lease.seq != end:  # a later record must not follow one that is missing
                    self._broken = error
                raise
        events, self._events = self._events, []
        for event in events:
            self.emit(event)

    def open_step(self, step: Step, prompt: PromptDelta | None = None) -> None:
        """Logs that a step begins."""
        touchpoint = step.touchpoint if isinstance(step, ShieldCallStep) else None
        self.log(StepOpened(step=step, prompt=prompt), StepStarted(step.step_id, StepType(step.step_type), touchpoint))

    def open_tool_step(self) -> None:
        """Logs that the last message's calls are carried out, unless that step is open already."""
        state = self.state
        if state.step is None:
            calls = tuple(item.call for item in state.calls)
            self.open_step(
                ToolExecutionStep(step_id=new_id(), turn_id=state.turn.turn_id, started_at=now(), tool_calls=calls)
            )

    def close_step(self, outcome: Outcome | None = None, *, tell: bool = True) -> None:
        """Logs that the open step has ended."""
        state = self.log(StepClosed(step_id=self.step.step_id, at=now(), outcome=outcome))
        if tell:
            self.tell(StepCompleted(state.turn.steps[-1]))

    def fail_step(self, error: Exception) -> None:
        """Logs that the open step has failed."""
        if isinstance(error, AgenticError):
            error.step_id = self.step.step_id
        self.close_step(Failure(type(error).__name__, storable(words(error))))

    def open_call(self, call: ToolCall) -> None:
        """Logs that a tool begins to run."""
        step_id = self.step.step_id
        self.log(CallOpened(step_id=step_id, call_id=call.call_id, at=now()), ToolCallStarted(call, step_id))

    def close_call(self, response: ToolResponse) -> None:
        """Logs a call's one result."""
        step_id = self.step.step_id
        self.log(CallClosed(step_id=step_id, response=response, at=now()), ToolCallCompleted(response, step_id))


def new_id() -> str:
    """A new id for a turn or a step."""
    return str(uuid.uuid4())


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)
