"""Text from the web made fit to be read: no mark-up, no control characters, bounded."""

from __future__ import annotations

import html
import re

# None of these looks at a character more than a few times: the text may be megabytes of whatever hurts.
_TAG = re.compile(r"<[!/]?[A-Za-z-][^<>]*>")
# Escape sequences and other control characters; marks that reverse or hide text.
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"
    r"\U000e0000-\U000e007f]"
)
_BLANK = re.compile(r"\n{3,}")


def clean(text: str) -> str:
    """Text without control characters and lone surrogates; line ends and tabs stay, runs of empty lines become one."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    text = _CONTROL.sub("", text).encode("utf-8", "replace").decode("utf-8")
    return _BLANK.sub("\n\n", "\n".join(line.rstrip() for line in text.split("\n"))).strip()


def plain(fragment: object, limit: int) -> str:
    """A fragment of HTML as one line of text; what is no text is empty.

    Args:
        fragment: A title or a snippet as a service sent it.
        limit: The most characters to keep.
    """
    if not isinstance(fragment, str):
        return ""
    fragment = fragment[: 20 * limit + 1000]
    return clip(" ".join(clean(html.unescape(_TAG.sub("", fragment))).split()), limit)


def clip(text: str, limit: int) -> str:
    """A text of at most `limit` characters; one that was cut ends in an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
