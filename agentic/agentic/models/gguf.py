"""What a GGUF file says of itself: as much of its header as running it needs.

The format is described in ggml's `docs/gguf.md`: little-endian; magic, version, counts, then typed key-value pairs. A
file may come from anywhere, so every length is checked against what is left of the file.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..types.errors import InvalidInput

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_CONTROL, _USER_DEFINED = 3, 4
_MAX_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class GgufInfo:
    """A model file's description.

    Attributes:
        architecture: `llama`, `qwen2` and so on.
        name: What its author called it.
        context: Tokens it was trained to read; 0 when the file does not say.
        chat_template: The Jinja template in the file, or an empty string.
        control: The tokens that steer the model rather than being text, with their ids.
    """

    architecture: str
    name: str
    context: int
    chat_template: str
    control: dict[str, int]


class _Reader:
    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self._data, self._path, self._at = data, path, 0

    def broken(self, why: str) -> InvalidInput:
        return InvalidInput(f"{self._path} is no sound GGUF file: {why}.")

    def take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise self.broken("it ends too early")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]

    def string(self) -> str:
        return self.take(self.number("Q")).decode("utf-8", errors="replace")

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY or depth > 3:
            raise self.broken(f"a value has the unknown type {kind}")
        inner, count = self.number("I"), self.number("Q")
        if inner in _SCALARS:
            code = _SCALARS[inner]
            return list(struct.unpack(f"<{count}{code}", self.take(count * struct.calcsize(f"<{code}"))))
        if count > len(self._data):
            raise self.broken("an array is longer than the file")
        return [self.value(inner, depth + 1) for _ in range(count)]


def read_gguf(path: Path) -> GgufInfo:
    """Reads a GGUF file's header.

    Raises:
        InvalidInput: It cannot be read, or is no GGUF file.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _info(_Reader(data, path))
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise InvalidInput(f"Cannot read the model file {path}: {error}.") from error


def _info(reader: _Reader) -> GgufInfo:
    if reader.take(4) != b"GGUF":
        raise reader.broken("it does not begin with GGUF")
    if (version := reader.number("I")) not in (2, 3):
        raise reader.broken(f"version {version} is not known here")
    _tensors, keys = reader.number("Q"), reader.number("Q")
    if keys > _MAX_KEYS:
        raise reader.broken(f"it claims {keys} keys")
    values = {reader.string(): reader.value(reader.number("I")) for _ in range(keys)}
    architecture = str(values.get("general.architecture", ""))
    tokens = values.get("tokenizer.ggml.tokens", [])
    kinds = values.get("tokenizer.ggml.token_type", [])
    return GgufInfo(
        architecture=architecture,
        name=str(values.get("general.name", "")),
        context=int(values.get(f"{architecture}.context_length", 0)),
        chat_template=str(values.get("tokenizer.chat_template", "")),
        control={
            token: number
            for number, (token, kind) in enumerate(zip(tokens, kinds, strict=False))
            if len(token) > 1
            and (kind == _CONTROL or (kind == _USER_DEFINED and token[0] in "<[" and token[-1] in "]>"))
        },
    )


def _markup(token: str) -> bool:
    return token[0] in "<[" and token[-1] in "]>"
