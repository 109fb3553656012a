"""How a turn that was run again differs from the one that was stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..history import History
from ..types.errors import NotFound
from ..types.serialise import to_dict
from ..types.steps import InferenceStep, Step
from ..types.turns import Turn

_NOT_COMPARED = {"step_id", "turn_id", "session_id", "started_at", "completed_at", "steps", "input_messages"}
_PROMPT = "exact prompt"
OF_THE_AGENT = {_PROMPT, "prompt", "model"}
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


def compare(number: int, recorded: tuple[History, Turn], replayed: tuple[History, Turn]) -> Iterator[Difference]:
    """Compares a turn step by step, as far as the same kinds of steps follow one another, and then as a whole.

    Args:
        number: The turn's, from 1.
        recorded: The turn as it was stored, and the history that has its prompts.
        replayed: As it came out now.
    """
    (stored, then), (played, now) = recorded, replayed
    for place, (old, new) in enumerate(zip(then.steps, now.steps, strict=False), 1):
        if old.step_type != new.step_type:
            yield Difference(number, place, "the kind of step", old.step_type, new.step_type)
            return
        yield from _parts(number, place, _plain(stored, old), _plain(played, new))
    if len(then.steps) != len(now.steps):
        yield Difference(number, None, "the number of steps", str(len(then.steps)), str(len(now.steps)))
    yield from _parts(number, None, _plain(stored, then), _plain(played, now))


def _parts(number: int, place: int | None, before: dict[str, Any], after: dict[str, Any]) -> Iterator[Difference]:
    for what, old in before.items():
        if old != after[what]:
            yield Difference(number, place, what, *_excerpts(old, after[what]))


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
