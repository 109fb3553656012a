"""The values of JSON and Python literals: numbers, constants, escapes, and the bracket they stand in."""

from __future__ import annotations

import re
from typing import Any, Final

NOTHING: Final = object()
"""No value."""
CLOSER: Final = {"(": ")", "[": "]", "{": "}"}

_WORDS: dict[str, Any] = {"True": True, "true": True, "False": False, "false": False, "None": None, "null": None}
_INFINITE = (float("inf"), float("-inf"))
NUMBER: Final = re.compile(r"[+-]?[0-9][0-9_]*+(\.[0-9]*+)?+([eE][+-]?[0-9]++)?+|[+-]?\.[0-9]++([eE][+-]?[0-9]++)?+")
_ESCAPE = re.compile(
    r"\\(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}"
    r"|U00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)",
    re.DOTALL,
)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": "", "0": "\0", "a": "\a", "v": "\v"}


class Frame:
    """An open bracket and what has been read inside it.

    Attributes:
        opener: `(` of a call's arguments or a tuple, `[` of a list, `{` of a dict or set.
        keyed: Whether `key: value` or `key=value` may stand in it.
        items: Values without a key, in order.
        pairs: Values with one.
        loose: A value in it was no literal and was kept as text.
        hinted: A `:` follows the key, so an `=` ends a type hint.
    """

    __slots__ = ("commas", "hinted", "items", "key", "keyed", "loose", "opener", "pairs")

    def __init__(self, opener: str, keyed: bool) -> None:
        self.opener = opener
        self.keyed = keyed
        self.items: list[Any] = []
        self.pairs: dict[str, Any] = {}
        self.key: str | None = None
        self.commas = 0
        self.loose = False
        self.hinted = False

    def value(self) -> Any:
        """The Python value: a dict for pairs, a list for items; `(x)` is x itself."""
        if self.opener == "{" and not self.items:
            return self.pairs
        if self.opener == "(" and len(self.items) == 1 and not self.commas:
            return self.items[0]
        return self.items


def word(text: str) -> Any:
    """The value of a number or constant of JSON or Python, or `NOTHING`; leading zeros are read as decimal."""
    return plain(text) if text in _WORDS or NUMBER.fullmatch(text) else NOTHING


def plain(text: str) -> Any:
    """The value of text that has the form of a number or constant; `NOTHING` for a number that Python cannot hold."""
    if text in _WORDS:
        return _WORDS[text]
    try:
        number = float(text) if "." in text or "e" in text or "E" in text else int(text)
    except ValueError:  # an underscore out of place, or more digits than Python reads
        return NOTHING
    return NOTHING if number in _INFINITE else number


def unescape(body: str) -> str:
    """A string's text: the escapes of JSON and Python; an unknown one stays, half a surrogate pair becomes U+FFFD."""
    return _ESCAPE.sub(_unescaped, body) if "\\" in body else body


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) == 1:
        return _ESCAPED.get(code, code if code in "\\'\"/" else match[0])
    if code[0] == "u" and len(code) > 5:
        high, low = int(code[1:5], 16), int(code[7:], 16)
        return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
    char = chr(int(code[1:], 16))
    return "\N{REPLACEMENT CHARACTER}" if "\ud800" <= char <= "\udfff" else char
