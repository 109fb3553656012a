"""Performing shields: who looks at what, and what becomes of it.

Rules:

* Everything that is judged together is judged at the same time; all verdicts are kept, the first objection counts.
* What was judged in this turn is not judged again: the log knows it by its digest.
* A shield that fails to judge follows its `on_error`; content passes only when something has said that it may.
* Repairs are made one on top of the other.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .journal import Journal, new_id, now
from .judging import ask
from .outlet import Outlet
from .protocols import Revealing, Shield
from .recall import where
from .setup import Setup
from .types.content import Content, Image, Text, text_of
from .types.events import StepCompleted, TextDelta
from .types.messages import AssistantMessage, Message, UserMessage
from .types.steps import (
    InferenceStep,
    Judgement,
    MemoryRetrievalStep,
    SafetyViolation,
    ShieldCallStep,
    Touchpoint,
    Verdict,
)
from .types.tools import ToolCall, ToolResponse

NOT_SEEN = "The turn ended first."
"""The error of a verdict on what no shield had seen when the turn ended."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing that is judged.

    Attributes:
        name: What verdicts call it, see `Verdict.subject`.
        messages: The conversation, ending with it.
    """

    name: str
    messages: tuple[Message, ...]


class Safeguard:
    """The shields of one turn.

    Args:
        setup: Which shields there are.
        journal: Where their verdicts are written.
    """

    def __init__(self, setup: Setup, journal: Journal) -> None:
        self._setup = setup
        self._journal = journal
        self._outlet: Outlet | None = None

    async def check(self, touchpoint: Touchpoint) -> None:
        """Lets the shields of a touchpoint look, as a recorded step."""
        early = self._early(touchpoint)
        self._journal.open_step(self._step(touchpoint))
        await self._journal.flush()
        verdicts: tuple[Verdict, ...] = ()
        if early.violation is None:
            verdicts = await self._judge(touchpoint, list(self._subjects(touchpoint)), early.verdicts)
        self._close(touchpoint, replace(early, verdicts=(*early.verdicts, *verdicts)))

    def withhold(self, touchpoint: Touchpoint) -> None:
        """Records that the turn ended before its shields came to look, so that what they would have seen is kept."""
        early = self._early(touchpoint)
        self._journal.open_step(self._step(touchpoint))
        refusal = SafetyViolation("The turn ended before its shields had looked at this.")
        verdicts = tuple(
            Verdict(shield.shield_id, refusal, error=NOT_SEEN) for shield in self._setup.shields[touchpoint]
        )
        self._close(touchpoint, replace(early, verdicts=(*early.verdicts, *verdicts)))

    def outlet(self, step_id: str) -> Outlet:
        """What the text of a new inference goes through on its way to the caller."""
        mode = self._setup.output_shield_mode if self._setup.shields.get(Touchpoint.OUTPUT) else "stream"
        if mode == "segments" and not self._journal.heard:
            mode = "whole"
        self._outlet = Outlet(step_id, mode, self._look, self._journal.emit)
        return self._outlet

    def reveal(self, call: ToolCall) -> ToolCall:
        """The call with the real values that shields give its tool.

        Raises:
            Exception: What a shield's `reveal` raised.
        """
        by_id = {each.shield_id: each for there in self._setup.shields.values() for each in there}
        for shield_id, masked in self._journal.history.masked.items():
            if isinstance(shield := by_id.get(shield_id), Revealing):
                call = replace(call, arguments=shield.reveal(call, masked))
        return call

    def conceal(self, response: ToolResponse) -> ToolResponse:
        """The result with the values masked that shields have masked before: the model must not meet them in it."""
        real = {
            form: placeholder
            for masked in self._journal.history.masked.values()
            for placeholder, value in masked.items()
            if len(value) > 2  # shorter ones stand in too much else
            for form in (value, json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(value)[1:-1])
        }
        if not real:
            return response
        longest_first = sorted(real, key=len, reverse=True)  # a name before its first half
        written = re.compile("|".join(map(re.escape, longest_first)))
        return replace(response, content=_replaced(response.content, written, real))

    # -- inside -------------------------------------------------------------------------------------------------------

    def _outlet_of(self, touchpoint: Touchpoint) -> Outlet | None:
        """The outlet through which the answer at hand has gone; after a crash there is none."""
        outlet = self._outlet
        if touchpoint is not Touchpoint.OUTPUT or outlet is None:
            return None
        return outlet if outlet.step_id == self._answer().step_id else None

    def _early(self, touchpoint: Touchpoint) -> Judgement:
        """What output shields said while the answer was still written."""
        outlet = self._outlet_of(touchpoint)
        return Judgement(outlet.verdicts, outlet.shown) if outlet else Judgement()

    def _others(self, there: Touchpoint, here: Touchpoint) -> set[str]:
        """The ids under which another shield looks there than here."""
        mine = {shield.shield_id: shield for shield in self._setup.shields[here]}
        looked = self._setup.shields.get(there, ())
        return {one.shield_id for one in looked if mine.get(one.shield_id) is not one}

    def _answer(self) -> InferenceStep:
        steps = reversed(self._journal.state.turn.steps)
        return next(step for step in steps if isinstance(step, InferenceStep))

    def _step(self, touchpoint: Touchpoint) -> ShieldCallStep:
        turn_id = self._journal.state.turn.turn_id
        return ShieldCallStep(step_id=new_id(), turn_id=turn_id, started_at=now(), touchpoint=touchpoint)

    def _close(self, touchpoint: Touchpoint, judgement: Judgement) -> None:
        """Records a judgement; an inference that was held back for it is shown as it left it."""
        if touchpoint is not Touchpoint.OUTPUT:
            self._journal.close_step(judgement)
            return
        outlet, came = self._outlet_of(touchpoint), _text(self._answer())
        shown = outlet.shown or came[: outlet.sent] if outlet else ""
        self._journal.close_step(judgement)
        step = self._answer()
        # After a repair that reaches back into what was shown, only the step itself can tell what was said.
        if (text := _text(step)).startswith(shown) and text != shown:
            self._journal.tell(TextDelta(text[len(shown) :], step.step_id))
        self._journal.tell(StepCompleted(step))

    async def _look(self, text: str) -> tuple[Verdict, ...]:
        """What the output shields say of the beginning of an answer."""
        subject = Subject(f"0:{len(text)}", (*self._journal.history.messages, AssistantMessage(text)))
        return await self._judge(Touchpoint.OUTPUT, [subject], ())

    def _subjects(self, touchpoint: Touchpoint) -> Iterator[Subject]:
        state, messages = self._journal.state, tuple(self._journal.history.messages)
        match touchpoint:
            case Touchpoint.INPUT:
                yield from _input_subjects(messages, len(messages) - len(state.turn.input_messages))
            case Touchpoint.RETRIEVAL:
                found = next(step for step in reversed(state.turn.steps) if isinstance(step, MemoryRetrievalStep))
                asked = replace(messages[-1], context=None) if isinstance(messages[-1], UserMessage) else messages[-1]
                for number, hit in enumerate(found.retrieval.hits[: found.retrieval.shown] if found.retrieval else ()):
                    text = f"{where(hit)}\n\n{hit.text}"
                    yield Subject(str(number), (*messages[:-1], asked, ToolResponse("", hit.bank or "memory", text)))
            case Touchpoint.OUTPUT:
                yield Subject("", (*messages[:-1], AssistantMessage(messages[-1].text)))
            case Touchpoint.TOOL_CALL:
                for item in state.open_calls:
                    if not item.cleared:
                        called = AssistantMessage("", (item.actual,))
                        yield Subject(item.call.call_id, (*messages[:-1], called))
            case Touchpoint.TOOL_RESULT:
                asked_for = messages[: len(messages) - len(state.calls)]
                for result in messages[len(asked_for) :]:
                    if isinstance(result, ToolResponse):
                        yield Subject(result.call_id, (*asked_for, result))

    async def _judge(
        self, touchpoint: Touchpoint, subjects: Sequence[Subject], early: Sequence[Verdict]
    ) -> tuple[Verdict, ...]:
        shields = self._setup.shields[touchpoint]
        known = self._known(touchpoint, early)
        digests = {subject.name: _digest(subject.messages[-1]) for subject in subjects}
        asked = {
            (shield.shield_id, digests[subject.name]): (shield, subject.messages)
            for subject in subjects
            for shield in shields
        }
        new = {key: asyncio.ensure_future(ask(*asked[key])) for key in asked if key not in known}
        try:
            await asyncio.gather(*new.values())
        finally:
            for task in new.values():
                task.cancel()
            await asyncio.gather(*new.values(), return_exceptions=True)
        verdicts: list[Verdict] = []
        for subject in subjects:
            digest = digests[subject.name]
            for shield in shields:
                key = (shield.shield_id, digest)
                verdict = new.pop(key).result() if key in new else known[key]
                known[key] = _repeated(verdict)
                verdicts.append(replace(verdict, subject=subject.name, digest=digest))
        for subject in subjects:
            verdicts += await _repaired_in_turn(
                subject, shields, [one for one in verdicts if one.subject == subject.name], known
            )
        return tuple(verdicts)

    def _known(self, touchpoint: Touchpoint, early: Sequence[Verdict]) -> dict[tuple[str, str], Verdict]:
        """The verdicts of this turn by the shields of a touchpoint, by shield and content."""
        said = list(early)
        for step in self._journal.state.turn.steps:
            if isinstance(step, ShieldCallStep) and step.judgement:
                elsewhere = self._others(step.touchpoint, touchpoint)
                said += [verdict for verdict in step.judgement.verdicts if verdict.shield_id not in elsewhere]
        return {
            (verdict.shield_id, verdict.digest): _repeated(verdict)
            for verdict in said
            if verdict.digest and verdict.error is None
        }


def _text(step: InferenceStep) -> str:
    return step.message.content if step.message else ""


def _repeated(verdict: Verdict) -> Verdict:
    """A verdict once more: it took no time, and its prompt stands where it was first given."""
    return replace(verdict, latency=0.0, prompt="")


async def _repaired_in_turn(
    subject: Subject,
    shields: Sequence[Shield],
    said: Sequence[Verdict],
    known: MutableMapping[tuple[str, str], Verdict],
) -> list[Verdict]:
    """Where several shields change the same content, all but the first are asked again, about what the others left."""
    changing = [verdict for verdict in said if verdict.replacement is not None]
    if len(changing) < 2 or any(verdict.blocked for verdict in said):
        return []
    by_id = {shield.shield_id: shield for shield in shields}
    content: Any = changing[0].replacement
    verdicts = []
    for verdict in changing[1:]:
        message = _with_content(subject.messages[-1], content)
        key = (verdict.shield_id, _digest(message))
        again = known.get(key) or await ask(by_id[verdict.shield_id], (*subject.messages[:-1], message))
        if again.error is None:
            known[key] = _repeated(again)
        content = content if again.replacement is None else again.replacement
        verdicts.append(replace(again, replacement=content, subject=subject.name, digest=key[1]))
    return verdicts


def _input_subjects(messages: tuple[Message, ...], start: int) -> Iterator[Subject]:
    """What users and tools say in a turn's input; the text that comes with a message is judged by itself."""
    for number, message in enumerate(messages[start:]):
        before = messages[: start + number]
        if isinstance(message, UserMessage):
            plain = replace(message, context=None)
            if message.content or not message.context:
                yield Subject(str(number), (*before, plain))
            if message.context:
                yield Subject(f"{number}.context", (*before, plain, ToolResponse("", "context", message.context)))
        elif isinstance(message, ToolResponse):
            yield Subject(str(number), (*before, message))


def _with_content(message: Message, content: Content) -> Message:
    if isinstance(message, AssistantMessage):
        return replace(message, content=text_of(content))
    return replace(message, content=content)


def _replaced(content: Content, old: re.Pattern[str], new: Mapping[str, str]) -> Content:
    if isinstance(content, str):
        return old.sub(lambda found: new[found.group()], content)
    return tuple(Text(str(_replaced(one.text, old, new))) if isinstance(one, Text) else one for one in content)


def _digest(message: Message) -> str:
    digest = hashlib.sha256(message.role.encode())

    def add(kind: str, data: bytes) -> None:  # with its length: a text that looks like a call is none
        digest.update(f"\n{kind} {len(data)} ".encode() + data)

    for part in (Text(message.content),) if isinstance(message.content, str) else message.content:
        if isinstance(part, Image):
            add(part.type, part.data or (part.url or "").encode("utf-8", "surrogatepass"))
        else:
            add(part.type, part.text.encode("utf-8", "surrogatepass"))
    for call in message.tool_calls if isinstance(message, AssistantMessage) else ():
        written = json.dumps([call.name, call.arguments], sort_keys=True, default=repr)
        add("call", written.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
