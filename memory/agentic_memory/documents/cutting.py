"""Documents cut into chunks: along headings, pages, paragraphs and sentences, by tokens, in linear time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from agentic.types.errors import InvalidInput

from ..types import Block, Chunk, Parsed

Count = Callable[[str], int]

# A sign of Chinese, Japanese or Korean, up to six letters of anything else, a sign of punctuation.
_TOKEN = re.compile(
    r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]|[^\W\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]{1,6}|[^\w\s]"
)
# What may end a sentence comes first: so it is sought as fast as a letter is.
_SENTENCE_END = re.compile(
    r"[.!?\u2026\u3002\uff01\uff1f\n]"
    r"(?:(?<=[.!?\u2026])[\"'\u201d\u2019\u00bb)\]]*\s+|(?<=[\u3002\uff01\uff1f])|(?<=\n)\n*)"
)
_LINE_END = re.compile(r"\n+")
_SPACE = re.compile(r"\s")
_LONGEST_GAP = 100
"""In characters: white space longer than that does not belong into a chunk."""
_LONGEST_HEADING = 1000
"""In characters: each chunk below a heading keeps it."""
_FALLBACK_SIZE = 2


def estimate(text: str) -> int:
    """About how many tokens a text has: a token is six letters, or one sign."""
    return len(_TOKEN.findall(text))


@dataclass(slots=True)
class _Atom:
    """A piece that is not cut: `text[start:end]`, without white space around it."""

    start: int
    end: int
    tokens: int
    rigid: bool = False
    """Of a listing or a table: nothing of it is repeated."""
    first: bool = False
    """A chunk begins here, whatever fits into the one before."""


def chunks(parsed: Parsed, size: int = 256, overlap: int = 32, count: Count | None = None) -> list[Chunk]:
    """Cuts a document into pieces that overlap.

    A chunk holds whole sentences of one section and page. A listing or table that fits stays whole; a sentence or a
    line is cut only when it alone is longer than a chunk. A chunk that does not begin at its section's heading begins
    with that heading's path, which is not part of `text[start:end]`, and takes at most a quarter of the size.

    Args:
        parsed: The document.
        size: The most tokens of a chunk, at least 8.
        overlap: The most tokens that a chunk repeats from the one before, below half the size; whole sentences where
            they fit. Nothing is repeated across sections, pages, listings and tables.
        count: Counts a text's tokens; by default an estimate of one token for six letters, and for each other sign.

    Raises:
        InvalidInput: `size` or `overlap` is out of its range.
    """
    if size < 8 or not 0 <= overlap <= size // 2:
        raise InvalidInput(f"Chunks need a size of at least 8 and an overlap of at most half of it: {size}, {overlap}.")
    cutter = _Cutter(parsed.text, size, overlap, count or estimate)
    found: list[Chunk] = []
    for section in _sections(parsed.blocks):
        found += cutter.cut(section)
    return found


def _sections(blocks: tuple[Block, ...]) -> Iterator[list[Block]]:
    """Neighbours that may share a chunk: of one page, below one heading."""
    section: list[Block] = []
    body = False  # whether the section has more than headings
    for block in blocks:
        if section:
            last = section[-1]
            opens = block.kind == "heading" and body
            elsewhere = block.kind != "heading" and last.kind != "heading" and block.headings != last.headings
            if opens or elsewhere or block.page != last.page:
                yield section
                section, body = [], False
        section.append(block)
        body = body or block.kind != "heading"
    if section:
        yield section


class _Cutter:
    def __init__(self, text: str, size: int, overlap: int, count: Count) -> None:
        self._text, self._size, self._overlap, self._count = text, size, overlap, count

    def cut(self, section: list[Block]) -> list[Chunk]:
        """The chunks of one section."""
        path = section[-1].headings
        if section[-1].kind == "heading":
            path = (*path, section[-1].text[:_LONGEST_HEADING].strip("#= \t\n-"))
        prefix = self._prefix(path)
        room = self._size - (self._count(prefix) if prefix else 0)
        position = {"page": section[0].page, "headings": list(path)}
        known = {key: value for key, value in position.items() if value}
        found = []
        for start, end in self._spans(section, room):
            headed = section[0].kind == "heading" and start <= section[0].start + len(section[0].text)
            text = self._text[start:end]
            place: dict[str, Any] = {"start": start, "end": end, **known}
            found.append(Chunk(text=text if headed else prefix + text, position=place))
        return found

    def _prefix(self, path: tuple[str, ...]) -> str:
        shown = " > ".join(part for part in path if part)
        most = self._size // 4
        if not shown:
            return ""
        while self._count(f"{shown}\n\n") > most:
            if len(shown) < _FALLBACK_SIZE:
                return ""
            shown = shown[-min(len(shown) // 2, 4 * most) :]
        return f"{shown}\n\n"

    def _spans(self, section: list[Block], room: int) -> Iterator[tuple[int, int]]:
        """Packs atoms greedily; each span holds at most `room` tokens, the repeated ones included."""
        begin, held = -1, 0
        last = _Atom(0, 0, 0)
        title = False
        for block in section:
            for atom in self._atoms(block, room):
                gap = atom.start - last.end > _LONGEST_GAP
                if begin >= 0 and ((atom.first and not title) or gap or held + atom.tokens > room):
                    yield begin, last.end
                    most = 0 if gap or last.rigid or atom.rigid else min(self._overlap, room - atom.tokens)
                    begin, held = self._repeated(begin, last.end, most)
                if begin < 0:
                    begin = atom.start
                last, held, title = atom, held + atom.tokens, block.kind == "heading"
        if begin >= 0:
            yield begin, last.end

    def _repeated(self, begin: int, end: int, most: int) -> tuple[int, int]:
        """Where a chunk begins that repeats the end of the one before, and how many tokens those are; or (-1, 0)."""
        if most <= 0:
            return -1, 0
        floor = max(begin + 1, end - 8 * most)
        ends = [floor + match.end() for match in _SENTENCE_END.finditer(self._text[floor:end])]
        words = _SPACE.search(self._text, max(floor, end - 3 * most), end)
        for start in [*ends[-4:], *([words.end()] if words else [])]:
            if begin < start < end and (tokens := self._count(self._text[start:end])) <= most:
                return start, tokens
        return -1, 0

    def _atoms(self, block: Block, room: int) -> Iterator[_Atom]:
        whole = self._trimmed(block.start, block.start + len(block.text))
        if whole is None:
            return
        start, end = whole
        rigid = block.kind in ("code", "table")
        # A block far too long to fit is not counted as a whole only to be cut.
        if (rigid or block.kind == "heading") and end - start <= 16 * room:
            tokens = self._count(self._text[start:end])
            if tokens <= room:
                yield _Atom(start, end, tokens, rigid)
                return
        first = rigid
        for left, right in self._split(start, end, _LINE_END if rigid else _SENTENCE_END):
            for piece, tokens in self._pieces(left, right, room):
                yield _Atom(*piece, tokens, rigid, first)
                first = False

    def _split(self, start: int, end: int, boundary: re.Pattern[str]) -> Iterator[tuple[int, int]]:
        left = start
        for match in boundary.finditer(self._text, start, end):
            if match.end() > left:
                yield left, match.end()
                left = match.end()
        if left < end:
            yield left, end

    def _pieces(self, start: int, end: int, room: int) -> Iterator[tuple[tuple[int, int], int]]:
        """A sentence as pieces that fit: first in strides, so that nothing long is ever counted, then in halves."""
        stride = 4 * room
        waiting = []
        while start < end:
            cut = end if end - start <= stride else self._cut(start, start + stride)
            waiting.append((start, cut))
            start = cut
        waiting.reverse()
        while waiting:
            left, right = waiting.pop()
            if (piece := self._trimmed(left, right)) is None:
                continue
            tokens = self._count(self._text[slice(*piece)])
            if tokens <= room or right - left == 1:
                yield piece, min(tokens, room)
            else:
                middle = self._cut(left, (left + right + 1) // 2)
                waiting += [(middle, right), (left, middle)]

    def _cut(self, start: int, end: int) -> int:
        """The last white space in the second half of a stretch, else its end."""
        for place in range(end, start + (end - start) // 2, -1):
            if place < len(self._text) and self._text[place].isspace():
                return place
        return end

    def _trimmed(self, start: int, end: int) -> tuple[int, int] | None:
        """The span without white space around it; None if there is nothing else."""
        piece = self._text[start:end]
        left = len(piece) - len(piece.lstrip())
        right = len(piece.rstrip())
        return (start + left, start + right) if left < right else None
