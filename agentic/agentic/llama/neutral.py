"""Keeps text from spelling a special token.

A prompt sent as text is tokenised by a server that turns the letters `<|eot_id|>` into the token that ends a message,
whoever typed them. So text gets a zero-width space between `<` and `|` wherever such a name would stand. It reads the
same, and taking the zero-width space out gives the text back. The inserted character is part of no name, so
inserting it spells no new one. A prompt sent as token ids needs none of this.
"""

from __future__ import annotations

import re

SPECIAL_LITERAL = re.compile(r"<\|(?=\w{1,64}\|>)", re.ASCII)
"""The `<|` of anything that looks like a special token: this vocabulary's, another Llama's, or one yet to come."""

_BROKEN = "<\u200b|"


def neutralise(text: str) -> str:
    """The text with every special token's name broken, and with lone surrogates, which no server takes, replaced."""
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return SPECIAL_LITERAL.sub(_BROKEN, text)
