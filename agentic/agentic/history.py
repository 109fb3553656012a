"""A session's log read into what the engine works with: turns, and the messages that the model sees.

Everything here grows by what a record adds; nothing is computed again from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from .context import Window
from .recall import as_context
from .turn import TRIMMED, TurnState, advance
from .types.content import Content, File, Text, files_of, text_of
from .types.errors import ContextOverflow, IllegalStep, NotFound
from .types.messages import AssistantMessage, Message, UserMessage
from .types.records import PromptDelta, Record, StepClosed, StepOpened, TurnClosed, TurnContinued, TurnOpened
from .types.steps import (
    Failure,
    Generation,
    Hit,
    InferenceStep,
    Judgement,
    MemoryRetrievalStep,
    Retrieval,
    ShieldCallStep,
    ToolExecutionStep,
    Touchpoint,
)
from .types.tools import ToolResponse
from .types.turns import Turn

MessageT = TypeVar("MessageT", bound=Message)

MAX_RESULT_CHARS = 40_000
"""What the model sees of one tool result at the most, in characters (about 10,000 tokens); the log has all of it."""


class History:
    """One session's turns.

    Attributes:
        session_id: The session.
        state: The turn that has not, or None.
        messages: The conversation, without the system message.
        window: What of it the model is shown.
        records: How many records were taken in.
        allowed: The tools that the caller allowed for the whole session.
        masked: What each shield has masked, by its id: real values by their placeholders.
    """

    def __init__(self, session_id: str, records: Iterable[Record] = ()) -> None:
        self.session_id = session_id
        self._closed: list[Turn | tuple[Record, ...]] = []  # records: nobody has asked for that turn yet
        self.state: TurnState | None = None
        self.messages: list[Message] = []
        self.window = Window(self.messages)
        self.records = 0
        self.allowed: set[str] = set()
        self.masked: dict[str, dict[str, str]] = {}
        self._attached: list[File] = []
        self._attached_before = 0
        self._asked: list[Message] = []
        self._turn_begins = 0
        self._deltas: dict[str, PromptDelta] = {}
        self._last_prompt: tuple[str, str] | None = None
        self.load(records)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All turns, an open one last."""
        ended = self.ended()
        return (*ended, self.state.turn) if self.state else tuple(ended)

    def ended(self, last: int | None = None) -> list[Turn]:
        """The turns that have ended, in order: all, or the last so many."""
        first = 0 if last is None else max(0, len(self._closed) - last)
        for place in range(first, len(self._closed)):
            if not isinstance(turn := self._closed[place], Turn):
                self._closed[place] = _turn_of(turn, self.session_id)
        return [turn for turn in self._closed[first:] if isinstance(turn, Turn)]

    @property
    def attachments(self) -> tuple[File, ...]:
        """The files that the user attached, in order; not those of turns that a shield ended."""
        return tuple(self._attached)

    def load(self, records: Iterable[Record]) -> None:
        """Takes in many records, as `apply` takes in one; turns are put together only when somebody asks for them.

        Raises:
            IllegalStep: A record cannot follow those before it; in a plain turn that has ended, when it is asked for.
        """
        turn: list[Record] = []
        for record in records:
            turn.append(record)
            if isinstance(record, TurnClosed):
                if self.state is None and _plain(turn):
                    self._skim(turn)
                else:
                    for one in turn:
                        self.apply(one)
                turn = []
        for record in turn:
            self.apply(record)

    def _skim(self, turn: Sequence[Record]) -> None:
        """Takes in a plain turn that has ended: its messages now, the rest when somebody asks."""
        for record in turn:
            match record:
                case TurnOpened():
                    self._open(record)
                case StepOpened(step=InferenceStep() as step, prompt=PromptDelta() as delta):
                    self._ask(step, delta)
                case StepClosed(outcome=Generation(message=message, usage=usage)):
                    self.window.answered(usage)
                    self.messages.append(message)
        self.records += len(turn)
        self._closed.append(tuple(turn))

    def _open(self, record: TurnOpened) -> None:
        self._turn_begins = len(self.messages)
        self.window.turn_opened()
        self._asked = [shown(message) for message in record.input_messages]
        self.messages.extend(self._asked)
        self._attached_before = len(self._attached)
        for message in record.input_messages:
            if isinstance(message, UserMessage):
                self._attached += files_of(message.content)

    def _ask(self, step: InferenceStep, delta: PromptDelta) -> None:
        base = self._deltas.get(delta.base) if delta.base is not None else PromptDelta(None, 0, "")
        if step.step_id in self._deltas or base is None or not 0 <= delta.keep <= base.keep + len(base.tail):
            raise IllegalStep(f"The prompt of step {step.step_id} goes on from one that is not there.")
        self._deltas[step.step_id] = delta
        self.window.asked(step)

    def apply(self, record: Record) -> TurnState:
        """Takes in one record and returns the state of its turn.

        Raises:
            IllegalStep: The record cannot follow those before it.
        """
        state = advance(self.state, record, self.session_id)
        self.records += 1
        match record:
            case TurnOpened():
                self._open(record)
            case StepOpened(step=InferenceStep() as step, prompt=PromptDelta() as delta):
                self._ask(step, delta)
            case StepClosed():
                self._remember(state, record)
            case TurnContinued(decisions=decisions):
                lasting = {decision.call_id for decision in decisions if decision.scope != "once"}
                self.allowed |= {item.call.name for item in state.calls if item.call.call_id in lasting}
            case TurnClosed():
                self._finish(state.turn)
        self.state = None if isinstance(record, TurnClosed) else state
        return state

    def _remember(self, state: TurnState, record: StepClosed) -> None:
        match record.outcome:
            case Generation(message=message, usage=usage):
                self.window.answered(usage)
                self.messages.append(message)
            case Failure(error=error) if error == TRIMMED:
                self.window.refused()
            case Retrieval(inserted=inserted) if inserted:
                last = self.messages[-1]
                if isinstance(last, UserMessage):
                    context = f"{last.context}\n\n{inserted}" if last.context else inserted
                    self.messages[-1] = replace(last, context=context)
            case Judgement() as judgement:
                for verdict in judgement.verdicts:
                    if verdict.masked:
                        self.masked.setdefault(verdict.shield_id, {}).update(verdict.masked)
                step = state.turn.steps[-1]
                if isinstance(step, ShieldCallStep) and judgement.replacements:
                    self._repair(state, step.touchpoint, judgement.replacements)
            case None:
                step = state.turn.steps[-1]
                if isinstance(step, ToolExecutionStep):
                    self.messages.extend(map(bounded, step.tool_responses))

    def _repair(self, state: TurnState, touchpoint: Touchpoint, repaired: Mapping[str, Content]) -> None:
        """Shows the model what shields made of content, in place of what came."""
        match touchpoint:
            case Touchpoint.INPUT:
                self._asked = [_repaired(message, repaired, str(i)) for i, message in enumerate(self._asked)]
                self.messages[self._turn_begins :] = self._asked
            case Touchpoint.OUTPUT if state.message is not None:
                self.messages[-1] = state.message
            case Touchpoint.TOOL_RESULT:
                for place in range(len(self.messages) - len(state.calls), len(self.messages)):
                    message = self.messages[place]
                    if isinstance(message, ToolResponse) and message.call_id in repaired:
                        self.messages[place] = replace(message, content=repaired[message.call_id])
            case Touchpoint.RETRIEVAL:
                self._repair_context(state, repaired)

    def _repair_context(self, state: TurnState, repaired: Mapping[str, Content]) -> None:
        found = next(step.retrieval for step in reversed(state.turn.steps) if isinstance(step, MemoryRetrievalStep))
        last = self.messages[-1]
        if found is None or not isinstance(last, UserMessage) or not last.context:
            return
        hits = [
            Hit(text_of(repaired[str(i)]), hit.score, "") if str(i) in repaired else hit
            for i, hit in enumerate(found.hits[: found.shown])
        ]
        inserted, _ = as_context(hits, tokens=len(found.inserted))
        self.messages[-1] = replace(last, context=last.context.removesuffix(found.inserted) + inserted)

    def _finish(self, turn: Turn) -> None:
        self._closed.append(turn)
        if turn.failure and turn.failure.error == ContextOverflow.__name__ and not turn.tool_calls:
            del self.messages[self._turn_begins :]  # it would not fit the next time either
        if turn.violation is not None:
            del self._attached[self._attached_before :]
            # The model must not meet blocked content again: of this turn it keeps at most a clean question and the
            # refusal (DESIGN, promise 6).
            del self.messages[self._turn_begins :]
            last = turn.steps[-1] if turn.steps else None
            if not (isinstance(last, ShieldCallStep) and last.touchpoint is Touchpoint.INPUT):
                self.messages.extend(self._asked)
                self.messages.append(AssistantMessage(turn.violation.user_message))

    # -- exact prompts ------------------------------------------------------------------------------------------------

    def delta_for(self, step_id: str, prompt: str) -> PromptDelta:
        """The prompt of a new step, as what it adds to the prompt before it."""
        if self._last_prompt is None and self._deltas:
            last = next(reversed(self._deltas))
            self._last_prompt = (last, self.prompt(last))
        base = self._last_prompt
        self._last_prompt = (step_id, prompt)
        if base is None:
            return PromptDelta(None, 0, prompt)
        keep = _common_prefix(base[1], prompt)
        return PromptDelta(base[0], keep, prompt[keep:])

    def prompt(self, step_id: str) -> str:
        """The exact prompt of an inference step.

        Raises:
            NotFound: There is no inference step of that id.
        """
        if step_id not in self._deltas:
            raise NotFound(f"Session {self.session_id!r} has no inference step {step_id!r}.")
        return _resolve(self._deltas, step_id)


def _plain(turn: Sequence[Record]) -> bool:
    """Whether a turn that has ended is inferences and nothing else, all of them good."""
    for record in turn:
        match record:
            case TurnOpened() | TurnClosed(violation=None, failure=None):
                pass
            case StepOpened(step=InferenceStep()) | StepClosed(outcome=Generation()):
                pass
            case _:
                return False
    return isinstance(turn[0], TurnOpened)


def _turn_of(records: Iterable[Record], session_id: str) -> Turn:
    state: TurnState | None = None
    for record in records:
        state = advance(state, record, session_id)
    assert state is not None  # noqa: S101 - there are records
    return state.turn


def shown(message: MessageT) -> MessageT:
    """A message as the model sees it: a file is a line that names it."""
    parts = () if isinstance(message, AssistantMessage) or isinstance(message.content, str) else message.content
    if not any(isinstance(part, File) for part in parts):
        return message
    content: Any = tuple(Text(part.text) if isinstance(part, File) else part for part in parts)
    return replace(message, content=content)


def _repaired(message: Message, repaired: Mapping[str, Content], subject: str) -> Message:
    context = repaired.get(f"{subject}.context")
    if isinstance(message, UserMessage) and context is not None:
        message = replace(message, context=text_of(context))
    if isinstance(message, UserMessage | ToolResponse) and subject in repaired:
        message = replace(message, content=repaired[subject])
    return message


def as_judged(turn: Turn) -> Turn:
    """The turn with its input as shields left it: as a model may meet it."""
    messages: Iterable[Message] = turn.input_messages
    for step in turn.steps:
        if isinstance(step, ShieldCallStep) and step.touchpoint is Touchpoint.INPUT and step.judgement:
            repaired = step.judgement.replacements
            messages = [_repaired(message, repaired, str(i)) for i, message in enumerate(messages)]
    return replace(turn, input_messages=tuple(messages))


def bounded(response: ToolResponse) -> ToolResponse:
    """A result as the model sees it: without metadata, and a huge text is cut in the middle, with a note."""
    response = shown(response)
    if response.metadata:
        response = replace(response, metadata={})
    if len(response.text) <= MAX_RESULT_CHARS:
        return response
    parts = (Text(response.content),) if isinstance(response.content, str) else response.content
    room = MAX_RESULT_CHARS // 2 // sum(isinstance(part, Text) for part in parts)
    return replace(response, content=tuple(_cut(part, room) if isinstance(part, Text) else part for part in parts))


def _cut(part: Text, room: int) -> Text:
    left_out = len(part.text) - 2 * room
    if left_out <= 0:
        return part
    note = f"\n[… {left_out:,} characters left out here …]\n"
    return Text(f"{part.text[:room]}{note}{part.text[-room:] if room else ''}")


def _common_prefix(one: str, other: str) -> int:
    """The length of the common prefix, by halving: comparing slices runs at memory speed, a loop does not."""
    if other.startswith(one):
        return len(one)
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _resolve(deltas: Mapping[str, PromptDelta], step_id: str) -> str:
    """Puts a prompt together from its end to its beginning, each character copied once."""
    pieces: list[str] = []
    current: str | None = step_id
    wanted: int | None = None
    while current is not None and wanted != 0:
        delta = deltas[current]
        if wanted is None:
            wanted = delta.keep + len(delta.tail)
        if wanted > delta.keep:
            pieces.append(delta.tail[: wanted - delta.keep])
            wanted = delta.keep
        current = delta.base
    return "".join(reversed(pieces))
