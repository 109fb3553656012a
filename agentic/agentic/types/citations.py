"""Which of the sources that the model was shown its answer cites."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from .steps import Hit, MemoryRetrievalStep, Step, ToolExecutionStep
from .tools import ToolResponse

_MARKER = re.compile(r"\[(\d{1,4}(?:\s*[,;\u2013-]\s*\d{1,4})*)\]", re.ASCII)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_LONGEST_RANGE = 100
_HIGHEST = 9999


@dataclass(frozen=True, slots=True)
class Citation:
    """A source that an answer cites.

    Attributes:
        number: As the answer writes it: `[2]` is 2.
        hit: The chunk behind it, with its document, its page and its score.
    """

    number: int
    hit: Hit


def cited(text: str, sources: Mapping[int, Hit]) -> tuple[Citation, ...]:
    """The sources whose numbers stand in a text as `[1]`, `[1, 2]` or `[1-3]`, once each, in the text's order.

    Numbers that no source has, and what stands in code, cite nothing.
    """
    wanted = dict.fromkeys(_numbers(_CODE.sub(" ", text)))
    return tuple(Citation(number, sources[number]) for number in wanted if number in sources)


def numbered(steps: Iterable[Step], responses: Iterable[ToolResponse] = ()) -> dict[int, Hit]:
    """The sources that the model was shown under a number: by memory retrieval, and by tools. The first one keeps it.

    Args:
        steps: A turn's steps.
        responses: More results, of a step that has not ended.
    """
    found: dict[int, Hit] = {}
    for step in steps:
        if isinstance(step, MemoryRetrievalStep) and step.retrieval is not None:
            found |= dict(enumerate(step.retrieval.hits[: step.retrieval.shown], 1))
        elif isinstance(step, ToolExecutionStep):
            for response in step.tool_responses:
                found = _of_tool(response) | found
    for response in responses:
        found = _of_tool(response) | found
    return found


def _numbers(text: str) -> Iterator[int]:
    for marker in _MARKER.finditer(text):
        for part in re.split(r"\s*[,;]\s*", marker[1]):
            first, *last = (int(number) for number in re.split(r"\s*[\u2013-]\s*", part))
            yield from range(first, min(last[0], first + _LONGEST_RANGE) + 1) if last else (first,)


def _of_tool(response: ToolResponse) -> dict[int, Hit]:
    """The numbered ones among a result's `metadata["sources"]`."""
    listed = response.metadata.get("sources")
    found = {}
    for source in listed if isinstance(listed, list | tuple) else ():
        if isinstance(source, Mapping) and type(number := source.get("number")) is int and 0 < number <= _HIGHEST:
            found[number] = _hit(source)
    return found


def _hit(source: Mapping[str, Any]) -> Hit:
    """A hit from plain data; what is missing or of the wrong type is left out."""
    empty = Hit("", 0.0, "")
    kinds = {one.name: type(getattr(empty, one.name)) for one in fields(Hit)}
    given = {name: source[name] for name, kind in kinds.items() if isinstance(source.get(name), kind)}
    return Hit(**{"text": "", "score": 0.0, "document_id": "", **given})
