"""Picks the tool that a message asks for, or none, by comparing embeddings.

A tool is known by its description, by the names of its arguments and by its examples; the mean likeness of these to the
message counts. Two gates decide that no tool is wanted: the message must be more like the tool than like any of a few
sentences of plain talk, and it must hold a number where the tool cannot do without one. The thresholds were set on the
development questions of `benchmarks/local_tools.py`; its test questions report the false-call rate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ...protocols import Embedder
from ...types.tools import ToolDef
from .examples import examples_of, properties_of

LIKENESS = 0.16
"""The least cosine between a message and its tool."""

MARGIN = -0.04
"""How much more a message must be like its tool than like the nearest plain talk; a mean is less than a maximum."""

SMALL_TALK = (
    "Hello, how are you?",
    "Thank you, goodbye.",
    "Who wrote this book?",
    "What is the capital of a country?",
    "Explain how something works.",
    "Write a poem or a story.",
    "Tell me a joke.",
    "Why does something happen?",
    "What does a word mean?",
    "Give me some advice or ideas.",
    "What is the history of something?",
    "Who are you and what can you do?",
    "Recommend a film or a book.",
    "Who was the first person to do something?",
)

_TO_TWELVE = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBER_WORDS = {word: number for number, word in enumerate(_TO_TWELVE, start=1)} | {
    "twenty": 20,
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "hundred": 100,
    "thousand": 1000,
    "million": 1_000_000,
}
_NUMBER = re.compile(r"(?:(?<![\w)])-)?\d+(?:,\d{3})*(?:\.\d+)?|[a-z]+")


def numbers_in(text: str) -> list[float | int]:
    """The numbers that a text holds, in digits or in words; each once, in order."""
    found: dict[float | int, None] = {}
    for match in _NUMBER.finditer(text.lower()):
        word = match[0].replace(",", "")
        if word in _NUMBER_WORDS:
            found[_NUMBER_WORDS[word]] = None
        elif not word.isalpha():
            found[float(word) if "." in word else int(word)] = None
    return list(found)


def needs_number(tool: ToolDef) -> bool:
    """Whether the tool cannot be called without a number."""
    properties = properties_of(tool)
    required = (properties.get(name, {}) for name in tool.parameters.get("required", ()))
    return any(schema.get("type") in ("number", "integer") for schema in required)


class Router:
    """Picks tools; it remembers their vectors."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._vectors: dict[str, list[float]] = {}

    async def choose(self, message: str, tools: Sequence[ToolDef], *, must: bool = False) -> ToolDef | None:
        """The tool that a message asks for, or None.

        Args:
            message: What the user said.
            tools: At least one.
            must: Some tool is wanted: leave the gates open.
        """
        if not message.strip():
            return tools[0] if must else None
        candidates = [tool for tool in tools if not needs_number(tool) or numbers_in(message)]
        if not candidates:
            return tools[0] if must else None
        texts = {tool.name: _texts(tool) for tool in candidates}
        await self._learn([text for group in texts.values() for text in group] + list(SMALL_TALK))
        vector = (await self._embedder.embed([message]))[0]

        def likeness(group: Sequence[str]) -> list[float]:
            return [sum(map(float.__mul__, vector, self._vectors[text])) for text in group]

        scores = {tool.name: fmean(likeness(texts[tool.name])) for tool in candidates}
        best = max(candidates, key=lambda tool: scores[tool.name])
        score = scores[best.name]
        if must or (score >= LIKENESS and score - max(likeness(SMALL_TALK)) >= MARGIN):
            return best
        return None

    async def _learn(self, texts: Sequence[str]) -> None:
        unknown = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        for text, vector in zip(unknown, await self._embedder.embed(unknown), strict=True):
            self._vectors[text] = vector


def _texts(tool: ToolDef) -> list[str]:
    name = tool.name.replace("_", " ").replace("-", " ").replace(".", " ")
    arguments = ", ".join(_argument(key, schema) for key, schema in properties_of(tool).items())
    described = f"{name}: {tool.description}"
    return [described, f"{described} {arguments}", *(example.user for example in examples_of(tool))]


def _argument(name: str, schema: Mapping[str, Any]) -> str:
    values = " ".join(map(str, schema.get("enum", ())))
    return " ".join(filter(None, [name.replace("_", " "), schema.get("description"), values]))
