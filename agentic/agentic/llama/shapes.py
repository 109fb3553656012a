"""How calls begin: the shapes that a decoder looks for in text, and what may still become one of them.

Every repetition is bounded or possessive, so matching at a place looks at a few hundred characters at the most.
"""

from __future__ import annotations

import re
from typing import Final

_NAME = r"[A-Za-z_][\w.-]{0,127}+"
_KEY = r"(?:name|type|function|parameters|arguments|params|args|id)"
_OBJECT = rf"\{{\s{{0,64}}+[\"']{_KEY}[\"']\s{{0,8}}+:"
_OBJECT_PART = r"\{\s{0,64}+(?:[\"'][a-z]{0,10}+(?:[\"']\s{0,8}+)?+)?+"

HOT: Final = re.compile(r"\[(?=[A-Za-z_{\s]|\Z)|\{(?=[\"'\s]|\Z)|<(?=f|\Z)|`")
"""Where a call or code in Markdown can begin in prose."""
_LIST = r"\[\s{0,64}+(?:\[\s{0,64}+)?+"  # some models write a list of lists
LIST: Final = re.compile(rf"{_LIST}(?={_OBJECT}|({_NAME})\s{{0,4}}+\()")
LIST_PART: Final = re.compile(rf"{_LIST}(?:{_OBJECT_PART}|{_NAME}\s{{0,4}}+)?+")
OBJECT: Final = re.compile(_OBJECT)
OBJECT_PART: Final = re.compile(_OBJECT_PART)
NAMED: Final = re.compile(rf"({_NAME})(?:\s{{0,4}}+(\()|(?=\{{[\"']))")
"""`name(`, or `name{"` (a function tag that lost its head)."""
NAMED_PART: Final = re.compile(rf"({_NAME})\s{{0,4}}+\{{?+")
TAG: Final = re.compile(rf"<function=\s{{0,4}}+({_NAME})([\s=]{{0,4}}+>?+[\s=]{{0,4}}+)(?=(\{{)|</function>)")
_TAG_HEAD = "<function="
TAG_PART: Final = re.compile(rf"{_TAG_HEAD}\s{{0,4}}+(?:{_NAME}[\s=]{{0,4}}+>?+[\s=]{{0,4}}+)?+[</function>]{{0,11}}+")
TAG_CLOSE: Final = "</function>"
FENCE: Final = re.compile(r"```(?:[A-Za-z_]{0,16}+[ \t]{0,8}+\r?\n)?\s{0,64}+")
FENCE_PART: Final = re.compile(r"`{1,3}+(?:[A-Za-z_]{0,16}+[ \t]{0,8}+\r?+\n?+\s{0,64}+)?+")
INLINE_END: Final = re.compile(r"[`\n]")
_BLANKS = re.compile(r"\s*+")
_GAP = re.compile(r"[\s,;]*+")


def blanks(text: str, pos: int) -> int:
    """Where the blanks that begin at `pos` end."""
    match = _BLANKS.match(text, pos)
    return match.end() if match else pos


def gap(text: str, pos: int) -> int:
    """Where the blanks and separators that begin at `pos` end."""
    match = _GAP.match(text, pos)
    return match.end() if match else pos


def may_be_tag(text: str, pos: int) -> bool:
    """Whether the end of a text may be the beginning of a function tag."""
    rest = text[pos : pos + len(_TAG_HEAD)]
    return _TAG_HEAD.startswith(rest) if len(rest) < len(_TAG_HEAD) else TAG_PART.fullmatch(text, pos) is not None
