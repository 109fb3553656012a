"""CSV, TSV, JSON and JSON lines: each row becomes a line that names its columns, so that it can be understood alone."""

from __future__ import annotations

import csv
import json
from typing import Any

from agentic.types.errors import InvalidInput

from ...types import Document, Parsed
from .writing import Writer, decode

_DELIMITERS = ",;\t|"
_MEND = "Mend it, or add it as text/plain."


def table(content: str | bytes, document: Document) -> Parsed:
    """CSV or TSV whose first row names the columns; the separator is the one that its first lines hold most."""
    text = decode(content)
    csv.field_size_limit(10_000_000)
    tabs = document.mime_type == "text/tab-separated-values" or document.source.lower().endswith(".tsv")
    start = "\n".join(text[:20_000].split("\n")[:5])
    delimiter = "\t" if tabs else max(_DELIMITERS, key=start.count)
    writer, columns = Writer(), None
    try:
        for row in csv.reader(text.split("\n"), delimiter=delimiter):
            if not any(cell.strip() for cell in row):
                continue
            if columns is None:
                columns = [cell.strip() or f"column {number}" for number, cell in enumerate(row, 1)]
                continue
            names = columns + [f"column {number}" for number in range(len(columns) + 1, len(row) + 1)]
            pairs = zip(names, row, strict=False)
            writer.add("; ".join(f"{name}: {' '.join(cell.split())}" for name, cell in pairs if cell.strip()), "table")
    except csv.Error as error:
        raise InvalidInput(f"it is no CSV: {error}.", hint="Save it anew, or add it as text/plain.") from None
    parsed = writer.parsed()
    if columns and not parsed.blocks:  # a single row
        writer.add("; ".join(columns), "table")
        return writer.parsed()
    return parsed


def json_values(content: str | bytes, _: Document) -> Parsed:
    """JSON: the items of a list and the members of an object are a block each."""
    try:
        value = json.loads(decode(content))
    except ValueError as error:
        raise InvalidInput(f"it is no JSON: {error}.", hint=_MEND) from None
    writer = Writer()
    for item in value if isinstance(value, list) else _members(value):
        writer.add(_line(item), "table")
    title = value.get("title", "") if isinstance(value, dict) else ""
    return writer.parsed(title if isinstance(title, str) else "")


def json_lines(content: str | bytes, _: Document) -> Parsed:
    """JSON lines: each is a block."""
    writer = Writer()
    for number, line in enumerate(decode(content).split("\n"), 1):
        if not line.strip():
            continue
        try:
            writer.add(_line(json.loads(line)), "table")
        except ValueError as error:
            raise InvalidInput(
                f"line {number} is no JSON: {error}.", hint="Mend it, or add it as text/plain."
            ) from None
    return writer.parsed()


def _members(value: Any) -> list[Any]:
    return [{key: item} for key, item in value.items()] if isinstance(value, dict) else [value]


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_cell(item)}" for key, item in value.items() if item not in (None, "", [], {}))
    return _cell(value)


def _cell(value: Any) -> str:
    return " ".join((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).split())
