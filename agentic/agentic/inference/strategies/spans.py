"""The pieces of a message that may be a value, and which of them stands where an example's value stood."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass

LONGEST = 16
"""Words in a piece."""

_EDGES = "\"'`\u201c\u201d\u2018\u2019«»,;:.!?…"
_QUOTED = re.compile(r"[\"\u201c«]([^\"\u201c\u201d«»]+)[\"\u201d»]|(?<!\w)['\u2018](.+?)['\u2019](?!\w)")
_PREPOSITIONS = ("to", "into", "in", "on", "at", "by", "of", "for", "from", "with", "as")
_LINKS = frozenset(
    [*_PREPOSITIONS, "a", "an", "the", "my", "me", "i", "it", "you", "is", "are", "be", "and", "or", "please", "called"]
)
_NUMBER, _EDGE = "0", ""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a message.

    Attributes:
        text: Without quotation marks and outer punctuation.
        before: The word in front of it, lower case; `0` for any number, nothing at the message's beginning.
        after: The word behind it, in the same way.
        start: Its first word's index.
        end: The index behind its last word.
    """

    text: str
    before: str
    after: str
    start: int
    end: int


def spans(message: str) -> list[Span]:
    """All pieces: whole words, brackets balanced, no link word at an edge; quoted text only as a whole, and first."""
    words = [(found.start(), found.end()) for found in re.finditer(r"\S+", message)]
    quotes = [(found.start(), found.end()) for found in _QUOTED.finditer(message)]
    plain = [_bare(message[start:end]) for start, end in words]
    pieces: dict[str, Span] = {}

    def add(text: str, start: int, end: int) -> None:
        before = plain[start - 1] if start else _EDGE
        after = plain[end] if end < len(plain) else _EDGE
        pieces.setdefault(text, Span(text, before, after, start, end))

    for opening, closing in quotes:
        inside = [index for index, (start, end) in enumerate(words) if start < closing and opening < end]
        add(message[opening + 1 : closing - 1], inside[0], inside[-1] + 1)
    for index, (start, _end) in enumerate(words):
        for last, (_start, end) in enumerate(words[index : index + LONGEST], start=index + 1):
            if any(start < closing and opening < end for opening, closing in quotes):
                break
            if _whole(text := message[start:end].strip(_EDGES)):
                add(text, index, last)
    return list(pieces.values())


def _bare(word: str) -> str:
    bare = word.strip(_EDGES).lower()
    return _NUMBER if bare[:1].isdigit() else bare


def _whole(text: str) -> bool:
    words = text.lower().split()
    if not words or words[0] in _LINKS or words[-1] in _LINKS:
        return False
    depth = 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            return False
    return depth == 0


def placed(pieces: Sequence[Span], examples: Sequence[tuple[str, str]]) -> list[Span]:
    """The pieces that stand where the examples' values stood; all of them when that says nothing.

    What counts is the word in front; failing that, the word behind, if most examples agree on it.

    Args:
        pieces: Of the message.
        examples: Pairs of a message and the value that was taken from it.
    """
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    for message, value in examples:
        found = next((piece for piece in spans(message) if piece.text.lower() == value.lower()), None)
        if found is not None:
            before[found.before] += 1
            after[found.after] += 1
    common: Container[str] = [word for word, count in after.items() if word and 2 * count > len(examples)]
    behind = [piece for piece in pieces if piece.before and piece.before in before]
    return behind or [piece for piece in pieces if piece.after in common] or list(pieces)
