"""Text that models, tools and stored sessions hold, made safe for a terminal.

Such text may hold escape sequences that move the cursor, set the title or write the clipboard, control characters,
and marks that reverse the reading order. None of it reaches the terminal.
"""

from __future__ import annotations

import re

_COLOUR = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*"  # CSI: colours, cursor; a letter ends it
_TITLE = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*"  # OSC, DCS and their like
_SHORT = r"\x1b[ -/]*"
_ESCAPE = re.compile(rf"{_COLOUR}[@-~]|{_TITLE}(?:\x07|\x1b\\|\x9c)|{_SHORT}[0-Z\\`-~]")
_BEGUN = re.compile(rf"(?:{_COLOUR}|{_TITLE}\x1b?|{_SHORT})\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069]")
_LONGEST_BEGUN = 4096


class Cleaner:
    """Cleans text that comes in pieces; an escape sequence may be split over several."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """Takes a piece and returns what may be shown of it."""
        text = self._held + piece
        begun = _BEGUN.search(text, max(0, len(text) - _LONGEST_BEGUN))
        end = begun.start() if begun else len(text)
        self._held = text[end:]
        return cleaned(text[:end])

    def rest(self) -> str:
        """What was held back and turned out to be no whole escape sequence."""
        held, self._held = self._held, ""
        return cleaned(held)


def cleaned(text: str) -> str:
    """Text without escape sequences and control characters; line ends and tabs stay."""
    return _CONTROL.sub("", _ESCAPE.sub("", text))


def visible(text: str) -> str:
    """Text with control characters written out as JSON writes them: nothing of it is left out."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def one_line(text: str, width: int) -> str:
    """The first line of a text, cleaned and at most `width` characters long."""
    lines = cleaned(text).strip().splitlines() or [""]
    line = " ".join(lines[0].split())
    more = len(lines) > 1
    if len(line) + more > width:
        return line[: max(1, width - 1)] + "…"
    return f"{line}…" if more else line
