"""What Llama Guard 3 knows: its hazard categories, and which of its sizes knows which.

Codes and names are those of Meta's model cards (github.com/meta-llama/PurpleLlama, `Llama-Guard3/8B/MODEL_CARD.md`,
`1B/MODEL_CARD.md` and `11B-vision/MODEL_CARD.md`), in the short form in which Meta's prompts list them. The 8B card
lists the 13 hazards of the MLCommons taxonomy and S14; the 1B and the 11B-Vision card list the 13 only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from agentic.types import ConfigError

Size: TypeAlias = Literal["8B", "1B", "11B-Vision"]


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of content that a guard looks for.

    Attributes:
        code: What the guard answers, such as `S1`.
        name: What it is called.
        policy: What falls under it, for the guard; empty where it knows that from training.
    """

    code: str
    name: str
    policy: str = ""


CATEGORIES: Mapping[str, Category] = {
    code: Category(code, name)
    for code, name in (
        ("S1", "Violent Crimes"),
        ("S2", "Non-Violent Crimes"),
        ("S3", "Sex Crimes"),
        ("S4", "Child Exploitation"),
        ("S5", "Defamation"),
        ("S6", "Specialized Advice"),
        ("S7", "Privacy"),
        ("S8", "Intellectual Property"),
        ("S9", "Indiscriminate Weapons"),
        ("S10", "Hate"),
        ("S11", "Self-Harm"),
        ("S12", "Sexual Content"),
        ("S13", "Elections"),
        ("S14", "Code Interpreter Abuse"),
    )
}

KNOWN: Mapping[Size, tuple[str, ...]] = {
    "8B": tuple(CATEGORIES),
    "1B": tuple(CATEGORIES)[:13],
    "11B-Vision": tuple(CATEGORIES)[:13],
}
"""The categories that each size was trained on; see the top of this module for the source."""


def size_of(model: str) -> Size:
    """The size that a model's name tells; where it tells none, 8B is meant, as with Ollama's `llama-guard3`."""
    name = model.lower()
    if "vision" in name or "11b" in name:
        return "11B-Vision"
    return "1B" if "1b" in name else "8B"


def chosen(size: Size, codes: tuple[str, ...] | None, custom: tuple[Category, ...]) -> dict[str, Category]:
    """The categories that a guard is asked about, by code.

    Args:
        size: The guard's size.
        codes: The allow-list; None is all that the size knows, and the custom ones.
        custom: More categories; one with a known code takes that one's place.

    Raises:
        ConfigError: The list names a code that the size does not know, or two custom categories share a code.
    """
    readable = all(re.fullmatch(r"[A-Za-z]+\d+", one.code, re.ASCII) for one in custom)
    if not readable or len({one.code.upper() for one in custom}) < len(custom):
        raise ConfigError("Each custom category needs a code of its own, letters and a number: S15.")
    known = {code: CATEGORIES[code] for code in KNOWN[size]} | {one.code.upper(): one for one in custom}
    if codes is None:
        return known
    wanted = [code.upper() for code in codes]
    if unknown := [code for code in wanted if code not in known]:
        raise ConfigError(
            f"Llama Guard 3 {size} does not know {', '.join(unknown)}.", hint=f"It knows {', '.join(known)}."
        )
    if not wanted:
        raise ConfigError("A guard with no categories lets everything pass: name at least one.")
    return {code: known[code] for code in known if code in wanted}
