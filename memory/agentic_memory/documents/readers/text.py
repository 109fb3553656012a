"""Plain text, Markdown and source code: their text is kept as it is, and only seen as blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...types import Block, Document, Kind, Parsed
from .writing import Outline, decode

_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*))?$")
_CLOSING_SIGNS = re.compile(r"(?:^|[ \t])#+[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_TABLE_RULE = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t:|-]*)?$")
_DEFINITION = re.compile(
    r"(?:@|(?:(?:export|default|public|private|protected|static|abstract|final|async|pub|unsafe|extern|inline)\s+)*"
    r"(?:class|def|func|function|fn|struct|enum|interface|trait|impl|type|module|namespace|const|var|let)\b)"
)
_OPEN_END = ("}", ")", "]", "else", "elif", "except", "finally", "catch", "end")
_LONG = 1200
"""In characters: longer source gets its first line as a heading, so that each of its chunks says what it is of."""


def plain(content: str | bytes, _: Document) -> Parsed:
    """Plain text: paragraphs are separated by empty lines."""
    text = decode(content)
    if "\n" not in text and text.strip():
        return Parsed(text=text, blocks=(Block(text=text),))
    blocks = [Block(text=text[start:end], start=start) for start, end in _paragraphs(text)]
    return Parsed(text=text, blocks=tuple(blocks))


def source(content: str | bytes, _: Document) -> Parsed:
    """Source code in any language: what begins in the first column after an empty line begins a block."""
    text = decode(content)
    bounds: list[int] = []
    after_blank, decorated = True, False
    for start, end in _lines(text):
        line = text[start:end]
        if not line.strip():
            after_blank = True
            continue
        outside = not line[0].isspace() and not line.startswith(_OPEN_END)
        if outside and not decorated and (after_blank or _DEFINITION.match(line)):
            bounds.append(start)
        decorated, after_blank = line.startswith("@"), False
    bounds = sorted({0, *bounds})
    blocks = []
    for start, end in zip(bounds, [*bounds[1:], len(text)], strict=True):
        piece = text[start:end].rstrip()
        if piece.strip():
            blocks.append(Block(text=piece, kind="code", headings=_named(piece), start=start))
    return Parsed(text=text, blocks=tuple(blocks))


def markdown(content: str | bytes, _: Document) -> Parsed:
    """Markdown, as it is written; listings are code blocks, tables are kept together, headings are known."""
    text = decode(content)
    return Parsed(text=text, blocks=tuple(_markdown_blocks(text)), title=_first_title(text))


def _markdown_blocks(text: str) -> Iterator[Block]:
    outline = Outline()
    for start, end, kind, level in _markdown_spans(text):
        piece = text[start:end].rstrip()
        if not piece.strip():
            continue
        if kind == "heading":
            above = outline.enter(level, _heading_text(piece))
            yield Block(text=piece, kind=kind, headings=above, start=start)
        else:
            yield Block(text=piece, kind=kind, headings=outline.path, start=start)


def _markdown_spans(text: str) -> Iterator[tuple[int, int, Kind, int]]:
    """Start, end, kind and level of each block, line by line."""
    begin, kind = -1, "text"
    fence = ""
    previous = ""
    lines_before = 0
    for start, end in _lines(text):
        line = text[start : min(end, start + 1000)].rstrip("\n")
        if fence:
            if line.lstrip().startswith(fence) and not line.strip(" \t`~"):
                yield begin, end, "code", 0
                begin, fence = -1, ""
            continue
        blank = text[start:end].isspace()
        opening = _FENCE.match(line)
        heading = _HEADING.match(line)
        if begin >= 0 and kind == "text" and lines_before == 1 and _UNDERLINE.match(line):
            yield begin, end, "heading", 1 if "=" in line else 2
            begin = -1
        elif opening or heading or blank:
            if begin >= 0:
                yield begin, start, _kind(kind), 0
                begin = -1
            if opening:
                begin, fence = start, opening[1]
            elif heading:
                yield start, end, "heading", len(heading[1])
        else:
            if begin < 0:
                begin, kind, lines_before = start, "text", 0
            lines_before += 1
            if _TABLE_RULE.match(line) and "|" in previous:
                kind = "table"
        previous = line
    if begin >= 0:
        yield begin, len(text), "code" if fence else _kind(kind), 0


def _kind(kind: str) -> Kind:
    return "table" if kind == "table" else "text"


def _heading_text(piece: str) -> str:
    line = piece.partition("\n")[0][:1000].strip()
    if found := _HEADING.match(line):
        line = found[2] or ""
    return _CLOSING_SIGNS.sub("", line).strip()


def _first_title(text: str) -> str:
    """The first heading of the first level."""
    for start, end, kind, level in _markdown_spans(text[:20_000]):
        if kind == "heading" and level == 1:
            return _heading_text(text[start:end])
    return ""


def _named(piece: str) -> tuple[str, ...]:
    if len(piece) < _LONG:
        return ()
    for line in piece[:_LONG].split("\n"):
        if _DEFINITION.match(line) and not line.startswith("@"):
            return (line.strip()[:100],)
    return ()


def _lines(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield start, end
        start = end


def _paragraphs(text: str) -> Iterator[tuple[int, int]]:
    begin = -1
    for start, end in _lines(text):
        if not text[start:end].strip():
            if begin >= 0:
                yield begin, start
                begin = -1
        elif begin < 0:
            begin = start
    if begin >= 0:
        yield begin, len(text)
