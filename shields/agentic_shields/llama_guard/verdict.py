"""Reading what Llama Guard answers: `safe`, or `unsafe` and on the next line the codes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_CODE = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]+\d+(?![A-Za-z0-9])")
_UNSAFE = re.compile(r"[\W_]*unsafe(?![a-z]+(?![a-z\d]))", re.IGNORECASE)
_TOKEN = re.compile(r"<\|[a-z_]+\|>")
_ROUND = " \t\r\n.,:;!*_`'\"#"


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer says.

    Attributes:
        safe: None where it cannot be read.
        codes: The codes it names, in its order, in capitals, each once; some may be unknown.
    """

    safe: bool | None
    codes: tuple[str, ...] = ()


def read(text: str) -> Reading:
    """Reads an answer.

    `unsafe` as its first word counts whatever follows; `safe` counts only if it is all of the first line and nothing
    later speaks against it. Everything else cannot be read.
    """
    text = _TOKEN.sub("", text)  # some servers hand over the one that ends an answer
    objects = _UNSAFE.match(text)
    codes = tuple(dict.fromkeys(code.upper() for code in _CODE.findall(text[objects.end() if objects else 0 :])))
    if objects:
        return Reading(False, codes)
    first, _, rest = text.strip(_ROUND).partition("\n")
    if first.strip(_ROUND).lower().split() == ["safe"] and not codes and "unsafe" not in rest.lower():
        return Reading(True)
    return Reading(None, codes)


def probability(logprobs: Sequence[Mapping[str, float]]) -> float | None:
    """How likely `unsafe` was against `safe`, in [0, 1]; None where the server gave no probabilities of either.

    Args:
        logprobs: For each generated token, the log-probabilities of the likeliest ones.
    """
    for token in logprobs:
        safe = unsafe = 0.0
        for text, logprob in token.items():
            word = text.strip().lower()
            likely = math.exp(min(0.0, logprob)) if not math.isnan(logprob) else 0.0
            if word and "unsafe".startswith(word):
                unsafe += likely
            elif word and "safe".startswith(word) and word != "s":
                safe += likely
        if safe + unsafe > 0:
            return unsafe / (safe + unsafe)
        if any(text.strip() for text in token):
            return None  # the first word is neither
    return None
