"""What all readers share: bytes as text, and a text written block by block."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from typing import Any

from agentic.types.errors import InvalidInput

from ...types import Block, Kind, Parsed

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LOOKED_AT = 64 * 1024
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")  # neither PostgreSQL nor UTF-8 takes them


def decode(content: str | bytes) -> str:
    """A file's text, with one line feed for each line end: by its mark, as UTF-8, else as what it looks like.

    Raises:
        InvalidInput: It is no text.
    """
    text = content if isinstance(content, str) else _decoded(content)
    return _UNSTORABLE.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def _decoded(data: bytes) -> str:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode(_guessed(data), "replace")
    if "\x00" in text[:_LOOKED_AT]:
        return data.decode(_guessed(data), "replace")
    return text


def _guessed(data: bytes) -> str:
    """The encoding of what is not UTF-8."""
    start = data[:_LOOKED_AT]
    if zeros := start.count(0):
        odd, even = start[1::2].count(0), start[::2].count(0)
        if zeros > len(start) // 4 and min(odd, even) <= zeros // 20:
            return "utf-16-le" if odd > even else "utf-16-be"
        raise InvalidInput("it is binary, no text.", hint="Save it as PDF, DOCX or text.")
    controls = sum(byte < 9 or 13 < byte < 27 for byte in start)
    if controls > len(start) // 50:
        raise InvalidInput("it is binary, no text.", hint="Save it as PDF, DOCX or text.")
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        return "cp1252"
    best = from_bytes(start).best()
    return best.encoding if best else "cp1252"


class Writer:
    """A text that grows by blocks, with an empty line between them."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._blocks: list[Block] = []
        self._length = 0

    def add(self, text: str, kind: Kind = "text", page: int | None = None, headings: Sequence[str] = ()) -> None:
        """Adds a block, unless it is empty."""
        text = _UNSTORABLE.sub("\ufffd", text).strip("\n").rstrip()
        if not text.strip():
            return
        if self._parts:
            self._parts.append("\n\n")
            self._length += 2
        self._blocks.append(Block(text=text, kind=kind, page=page, headings=tuple(headings), start=self._length))
        self._parts.append(text)
        self._length += len(text)

    def parsed(self, title: str = "", metadata: Mapping[str, Any] | None = None) -> Parsed:
        """The document that was written."""
        shown = _UNSTORABLE.sub("\ufffd", " ".join(title.split()))[:500]
        return Parsed(text="".join(self._parts), blocks=tuple(self._blocks), title=shown, metadata=metadata or {})


class Outline:
    """The headings above the place where a reader is."""

    def __init__(self) -> None:
        self._levels: list[tuple[int, str]] = []

    def enter(self, level: int, title: str) -> tuple[str, ...]:
        """Goes below a heading, and returns those above it."""
        while self._levels and self._levels[-1][0] >= level:
            self._levels.pop()
        above = self.path
        self._levels.append((level, title))
        return above

    @property
    def path(self) -> tuple[str, ...]:
        """The headings, outermost first."""
        return tuple(title for _, title in self._levels)
