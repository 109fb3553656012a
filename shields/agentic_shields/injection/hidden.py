"""Characters that people do not see and models read: found where no honest writing puts them.

Emoji sequences, the joiners of Persian and Indic scripts, soft hyphens, and the marks of right-to-left text are honest.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from .finding import Finding

_ZERO = "\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200d\u2060-\u2064\u206a-\u206f\u3164\ufeff\uffa0"
_TAG = 0xE0000


def _tags(text: str) -> str:
    return "".join(chr(_TAG + ord(letter)) for letter in text)


_FLAG = re.compile("\U0001f3f4(?:" + "|".join(map(_tags, ("gbeng", "gbsct", "gbwls"))) + ")\U000e007f")
_TAGS = re.compile("[\U000e0000-\U000e007f]+")
_RUN = re.compile(f"[{_ZERO}]{{6,}}")
_SPLIT_WORD = re.compile(f"[A-Za-z0-9][{_ZERO}](?:[A-Za-z0-9]{{1,4}}[{_ZERO}]){{2,}}")
_SELECTORS = re.compile(
    "[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}"
    "|(?<=[A-Za-z])[\ufe00-\ufe0f\U000e0100-\U000e01ef]"
    "|(?<![\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])[\U000e0100-\U000e01ef]"
)
_OVERRIDE = re.compile("[\u202d\u202e]")
_EMBEDDING = re.compile("[\u202a\u202b\u202c\u2066-\u2069]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")

UNSEEN = re.compile(f"[{_ZERO}\u00ad\u202a-\u202e\u2066-\u2069\ufe00-\ufe0f\U000e0000-\U000e01ef]")
"""Every character that can hide between the letters of a word."""


def hidden(text: str) -> Iterator[Finding]:
    """Hidden characters, run by run."""
    if text.isascii():
        return
    flags = [found.span() for found in _FLAG.finditer(text)]
    for found in _TAGS.finditer(text):
        if not any(start < found.start() and found.end() <= end for start, end in _around(flags, found.start())):
            said = "".join(chr(ord(mark) - _TAG) for mark in found.group() if 0x20 <= ord(mark) - _TAG < 0x7F)
            yield Finding("hidden_text", *found.span(), said)
    for pattern in (_RUN, _SPLIT_WORD):
        for found in pattern.finditer(text):
            yield from (Finding("hidden_text", at, at + 1) for at in _unseen(text, *found.span()))
    for found in _SELECTORS.finditer(text):
        yield Finding("hidden_text", *found.span())
    for found in _OVERRIDE.finditer(text):
        yield Finding("bidi_override", *found.span())
    if _EMBEDDING.search(text):
        yield from _unbalanced(text)


def visible(text: str) -> tuple[str, Sequence[int]]:
    """The text without characters that are not seen, and where in the text each of its characters stands."""
    if text.isascii() or not UNSEEN.search(text):
        return text, range(len(text))
    where = [index for index, letter in enumerate(text) if not UNSEEN.match(letter)]
    return "".join(map(text.__getitem__, where)), where


def _around(spans: list[tuple[int, int]], position: int) -> list[tuple[int, int]]:
    """The one span that may hold a position."""
    index = bisect_right(spans, (position, position)) - 1
    return spans[index : index + 1] if index >= 0 else []


def _unseen(text: str, start: int, end: int) -> Iterator[int]:
    return (at for at in range(start, end) if UNSEEN.match(text, at))


def _unbalanced(text: str) -> Iterator[Finding]:
    """Embeddings and isolates that a line without right-to-left letters opens and does not close, or the reverse."""
    start = 0
    for line in text.splitlines(keepends=True):
        marks = list(_EMBEDDING.finditer(line))
        depth = lowest = 0
        for mark in marks:
            depth += -1 if mark.group() in "\u202c\u2069" else 1
            lowest = min(lowest, depth)
        if (depth or lowest) and not _RIGHT_TO_LEFT.search(line):
            yield from (Finding("bidi_override", start + mark.start(), start + mark.end()) for mark in marks)
        start += len(line)
