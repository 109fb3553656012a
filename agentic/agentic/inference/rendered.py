"""JSON of messages and tools, written once: a long conversation is not written again for each of its turns."""

from __future__ import annotations

import json
import weakref
from typing import Any


class Rendered:
    """The JSON texts of immutable objects, found by identity for as long as the objects live."""

    def __init__(self) -> None:
        self._texts: dict[int, tuple[weakref.ref[object], str]] = {}

    def get(self, thing: object) -> str | None:
        """The object's text, if it was kept."""
        entry = self._texts.get(id(thing))
        return None if entry is None else entry[1]

    def keep(self, thing: object, value: Any) -> str:
        """Writes a value as the object's JSON text, and keeps it."""
        text, key, texts = dumps(value), id(thing), self._texts

        def forget(_gone: object) -> None:  # before another object can have that id
            texts.pop(key, None)

        texts[key] = (weakref.ref(thing, forget), text)
        return text


def body(fields: dict[str, Any], **written: str) -> str:
    """A JSON object of some fields, and after them those that are JSON text already."""
    head = dumps({key: value for key, value in fields.items() if value is not None})
    tail = "".join(f',"{key}":{text}' for key, text in written.items() if text)
    return f"{head[:-1]}{tail if head != '{}' else tail[1:]}}}"


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def dumps(value: Any) -> str:
    """JSON that is readable in a log (no needless escapes) and valid whatever a model wrote into a call."""
    try:
        text = _ENCODER.encode(value)
    except ValueError:  # NaN and the infinities have no JSON
        return dumps(json.loads(json.dumps(value), parse_constant=lambda _: None))
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates, as file names and broken JSON bring them
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
