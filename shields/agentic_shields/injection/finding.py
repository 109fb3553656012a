"""What the injection shield found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that should not be there.

    Attributes:
        kind: `hidden_text`, `bidi_override`, `special_token`, `role_header`, `tool_call`, `exfiltration` or `override`.
        start: Where it begins in the text, in characters.
        end: Where it ends.
        said: What it says, where that is not what one sees.
    """

    kind: str
    start: int
    end: int
    said: str = ""
