"""Turns as a person reads them afterwards."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

from ..types.content import images_of
from ..types.messages import Message
from ..types.sampling import Usage
from ..types.steps import InferenceStep, MemoryRetrievalStep, ShieldCallStep, Step, ToolExecutionStep
from ..types.tools import ToolResponse, ToolStatus
from ..types.turns import EndReason, Turn, TurnStatus
from .prompt import print_prompt
from .text import cleaned, one_line
from .views import ENDINGS, duration, footer, label, summary

SHORT = 8
"""Letters of an id that are shown; enough to name it."""


class Transcript:
    """Prints turns.

    Args:
        prompts: Exact prompts by step id, to be printed as well.
        file: Where to; stdout when None.
    """

    def __init__(self, prompts: Mapping[str, str] | None = None, file: TextIO | None = None) -> None:
        from rich.console import Console

        self._prompts = prompts or {}
        self._console = Console(file=file or sys.stdout, highlight=False, soft_wrap=True)
        self._width = max(40, self._console.width if self._console.is_terminal else 200)

    def show(self, turns: Sequence[Turn], first: int = 1) -> None:
        """Prints turns, numbered from `first`: what was said, the steps, the answer."""
        for number, turn in enumerate(turns, first):
            self._line(f"turn {number}", f"{turn.turn_id[:SHORT]}  {turn.started_at.astimezone():%Y-%m-%d %H:%M:%S}")
            for message in turn.input_messages:
                self._line("", f"{message.role}: {cleaned(_said(message))}", indent="")
            for step in turn.steps:
                self.step(step)
            self._end(turn)

    def step(self, step: Step) -> None:
        """Prints one step."""
        took = duration((step.completed_at - step.started_at).total_seconds()) if step.completed_at else "not finished"
        self._line(step.step_type, f"{step.step_id[:SHORT]}  {took}{_about(step)}", indent="  ")
        match step:
            case InferenceStep(message=message):
                if prompt := self._prompts.get(step.step_id):
                    print_prompt(prompt if prompt.endswith("\n") else f"{prompt}\n")
                if message and message.content and message.tool_calls:
                    self._line("", one_line(message.content, self._width - 4), indent="    ")
                for note in message.notes if message else ():
                    self._line("", one_line(note, self._width - 4), indent="    ")
            case ToolExecutionStep(tool_calls=calls, tool_responses=responses):
                results = {response.call_id: response for response in responses}
                for call in calls:
                    self._line("", label(call, self._width - 4), indent="    ")
                    self._line("", _result(results.get(call.call_id), self._width - 8), indent="      → ")
        if isinstance(step, ToolExecutionStep):
            return
        if step.failure:
            self._line("", one_line(f"{step.failure.error}: {step.failure.message}", self._width - 4), indent="    ")

    def _end(self, turn: Turn) -> None:
        if turn.text:
            self._line("", f"assistant: {cleaned(turn.text)}", indent="")
        if turn.status is TurnStatus.AWAITING_INPUT:
            waiting = ", ".join(label(item.call, 80) for item in turn.pending)
            self._line("", f"Waits for: {waiting}", indent="")
        elif turn.status is TurnStatus.RUNNING:
            self._line("", "Not finished: it runs, or its process died.", indent="")
        elif turn.reason is EndReason.ERROR and turn.failure:
            self._line("", one_line(f"Failed: {turn.failure.error}: {turn.failure.message}", self._width), indent="")
        elif turn.reason in ENDINGS:
            self._line("", ENDINGS[turn.reason], indent="")
        self._line("", footer(turn) + "\n", indent="")

    def _line(self, head: str, text: str, indent: str = "") -> None:
        from rich.text import Text

        self._console.print(Text.assemble(indent, (f"{head}  " if head else "", "bold"), text))


def _said(message: Message) -> str:
    images = len(images_of(message.content))
    return message.text + (f" [{images} image{'s' if images > 1 else ''}]" if images else "")


def _about(step: Step) -> str:
    match step:
        case InferenceStep(generation=generation, left_out=left_out):
            usage = generation.usage if generation else Usage()
            cost = f"  {usage.input_tokens} + {usage.output_tokens} tokens" if usage.total else ""
            return f"{cost}  without the first {left_out.turns} turns" if left_out else cost
        case MemoryRetrievalStep(retrieval=retrieval) if retrieval:
            return f"  {len(retrieval.hits)} passages from {', '.join(step.banks)}"
        case ShieldCallStep(judgement=judgement) if judgement:
            return f"  {step.touchpoint}: {'blocked' if judgement.violation else 'passed'}"
        case _:
            return ""


def _result(response: ToolResponse | None, width: int) -> str:
    if response is None:
        return "no result yet"
    text = summary(response.content, width)
    return text if response.status is ToolStatus.OK else f"[{response.status}] {text}"
