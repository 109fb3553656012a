"""DOCX."""

from __future__ import annotations

import io
import re
import zipfile
from typing import TYPE_CHECKING

from agentic.types.errors import ConfigError, InvalidInput

from ...types import Document, Parsed
from .writing import Outline, Writer

if TYPE_CHECKING:
    from docx.table import Table
    from docx.text.paragraph import Paragraph

MAX_UNPACKED = 300 * 1024 * 1024
MAX_PARTS = 10_000
_HEADING_STYLE = re.compile(r"(?:heading|title)\s*(\d?)", re.IGNORECASE)


def docx(content: str | bytes, _: Document) -> Parsed:
    """DOCX: paragraphs, headings and tables, in order."""
    try:
        import docx as library
        from docx.table import Table
    except ImportError:
        raise ConfigError("DOCX is read with python-docx.", hint="Run: pip install 'agentic[documents]'") from None
    if isinstance(content, str):
        raise InvalidInput("a DOCX is bytes, not text.")
    _check_size(content)
    file = library.Document(io.BytesIO(content))
    writer, outline = Writer(), Outline()
    for part in file.iter_inner_content():
        if isinstance(part, Table):
            writer.add(_rows(part), "table", headings=outline.path)
        elif (level := _level(part)) is not None and part.text.strip():
            title = " ".join(part.text.split())
            writer.add(title, "heading", headings=outline.enter(level, title))
        else:
            writer.add(part.text, headings=outline.path)
    return writer.parsed(file.core_properties.title or "")


def _check_size(content: bytes) -> None:
    """What is small when packed may be huge; `zipfile` itself unpacks no more of a part than is declared."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
    except zipfile.BadZipFile as error:
        raise InvalidInput(f"it is broken, or no DOCX ({error}).", hint="Save it anew with another program.") from None
    if len(parts) > MAX_PARTS or sum(part.file_size for part in parts) > MAX_UNPACKED:
        raise InvalidInput(f"it unpacks to more than {MAX_UNPACKED // 1024**2} MiB.", hint="Split it.")


def _level(paragraph: Paragraph) -> int | None:
    """The level of a heading; the title of the document is above all others."""
    found = _HEADING_STYLE.match((paragraph.style.name if paragraph.style else None) or "")
    return int(found[1] or 0) if found else None


def _rows(table: Table) -> str:
    lines = []
    for row in table.rows:
        cells: list[str] = []
        for cell in row.cells:
            text = " ".join(cell.text.split())
            if not cells or cells[-1] != text:  # merged cells come once for each place that they cover
                cells.append(text)
        lines.append(" | ".join(cells))
    return "\n".join(lines)
