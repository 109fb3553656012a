"""Regular expressions that cannot hang a shield, whatever text they meet.

Python's `re` tries every way in which a pattern can match. A repeat within a repeat (`(a+)+`), or of alternatives that
begin alike (`(a|ab)*`), has exponentially many ways: such patterns are refused. Several repeats of almost anything
(`.*a.*b.*c`) have as many as a power of the text's length: they are refused from the third on, and a text is looked at
in overlapping pieces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

from agentic.types import ConfigError

# The parser is the only honest reader of patterns; the modules have no types.
ops: Any = import_module("re._constants")
_parser: Any = import_module("re._parser")

LONGEST = 2000
"""Characters of a pattern."""
PIECE, OVERLAP = 4000, 1000
"""Characters of a piece of text; a match is found if it is no longer than the overlap."""

_REPEATS = (ops.MAX_REPEAT, ops.MIN_REPEAT)
_MANY = 16
_WIDE = 2


def checked(pattern: str) -> re.Pattern[str]:
    """Compiles a pattern, whatever the case of letters.

    Raises:
        ConfigError: It is no regular expression, too long, matches nothing at all, or could take too long.
    """
    if len(pattern) > LONGEST:
        raise ConfigError(f"The pattern has {len(pattern):,} characters; at most {LONGEST:,} are taken.")
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
        parsed = _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"{pattern!r} is no regular expression: {error}.") from error
    if compiled.search(""):
        raise ConfigError(f"{pattern!r} matches the empty text, so it would object to everything.")
    wide = 0
    for node, inside in _nodes(parsed, inside=False):
        if inside and ((node[0] in _REPEATS and _unbounded(node)) or (node[0] is ops.BRANCH and _alike(node))):
            raise ConfigError(f"{pattern!r} could take exponential time.", hint="Use no repeat within a repeat.")
        if node[0] is ops.GROUPREF:
            raise ConfigError(f"{pattern!r} refers back to a group, which could take too long.")
        wide += node[0] in _REPEATS and _unbounded(node) and _is_wide(node[1][2])
    if wide > _WIDE:
        raise ConfigError(f"{pattern!r} repeats almost anything more than twice, which could take too long.")
    return compiled


def spans(pattern: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    """Where a pattern matches; overlapping matches are one."""
    found: set[tuple[int, int]] = set()
    for start in range(0, max(1, len(text) - OVERLAP), PIECE - OVERLAP):
        end = min(start + PIECE, len(text))
        for match in pattern.finditer(text, start, end):
            if match.start() < match.end() and not match.end() == end < len(text):
                found.add(match.span())  # what reaches a piece's end may go on: the next piece shows it
    return apart(found)


def apart(found: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order; those that overlap are one."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(found):
        if merged and first < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _nodes(parsed: Any, *, inside: bool) -> Iterator[tuple[Any, bool]]:
    """Each operation of a parsed pattern, with whether it stands in a repeat."""
    for node in parsed:
        yield node, inside
        repeats = inside or (node[0] in _REPEATS and _unbounded(node))
        for child in _children(node[1]):
            yield from _nodes(child, inside=repeats)


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, _parser.SubPattern):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _children(one)


def _unbounded(node: Any) -> bool:
    least, most, _ = node[1]
    return bool(most is ops.MAXREPEAT or most - least > _MANY)


def _alike(node: Any) -> bool:
    """Whether two alternatives can begin alike: only those that begin with different letters cannot."""
    firsts = [next(iter(branch), None) for branch in node[1][1]]
    letters = [first[1] for first in firsts if first is not None and first[0] is ops.LITERAL]
    return len(letters) < len(firsts) or len({chr(letter).lower() for letter in letters}) < len(letters)


def _is_wide(repeated: Any) -> bool:
    """Whether almost any character will do: a dot, or everything but something."""
    first = next(iter(repeated), None)
    if first is None:
        return False
    return first[0] in (ops.ANY, ops.NOT_LITERAL) or (first[0] is ops.IN and first[1][0][0] is ops.NEGATE)
