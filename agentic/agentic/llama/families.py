"""The model families whose prompts this codec writes, and what sets them apart."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Literal, TypeAlias, get_args

from ..types.errors import ConfigError

ToolFormat: TypeAlias = Literal["json", "function_tag", "python_list"]
"""How a model writes a call of a custom tool: a JSON object, a `<function=…>` tag, or a Python list of calls."""

_IN_MODEL_NAME = re.compile(r"llama[-_ ]?3[._-]([123])(?!\d)", re.IGNORECASE)
_VISION = re.compile(r"vision|(?<!\d)(?:11|90)b")
"""Hosts leave the word out of some names; of Llama 3.2, only the vision models have these sizes."""


class Family(StrEnum):
    """A Llama family; the names ending in `-base` are the models without instruction tuning."""

    LLAMA3_1 = "llama3.1"
    LLAMA3_1_BASE = "llama3.1-base"
    LLAMA3_2 = "llama3.2"
    LLAMA3_2_BASE = "llama3.2-base"
    LLAMA3_2_VISION = "llama3.2-vision"
    LLAMA3_2_VISION_BASE = "llama3.2-vision-base"
    LLAMA3_3 = "llama3.3"

    @classmethod
    def of(cls, name: str) -> Family:
        """The family of that name, or of the model of that name.

        Args:
            name: `llama3.2`, `llama3.2-text`, or a model's name such as `meta-llama/Llama-3.2-11B-Vision-Instruct` or
                `llama3.1:8b`. A model's name does not tell a base model unless it ends in `-base`.

        Raises:
            ConfigError: It names no family known here.
        """
        lowered = str(name).lower()
        if lowered in tuple(cls):
            return cls(lowered)
        if found := _IN_MODEL_NAME.search(lowered):
            guess = f"llama3.{found[1]}"
            guess += "-vision" * (found[1] == "2" and bool(_VISION.search(lowered)))
            guess += "-base" * (lowered.endswith("-base") and found[1] != "3")
            return cls(guess)
        raise ConfigError(f"{name!r} is no Llama family known here.", hint=f"Use one of: {', '.join(cls)}.")

    @property
    def base(self) -> bool:
        """Completes plain text: no roles, no tools."""
        return self.value.endswith("-base")

    @property
    def vision(self) -> bool:
        """Reads images."""
        return "vision" in self.value

    @property
    def classic(self) -> bool:
        """Is laid out as Llama 3.1: dates in the system message, custom tools defined in a user message after it.

        The others say no dates and define tools in the system message.
        """
        return self in (Family.LLAMA3_1, Family.LLAMA3_2_VISION)

    @property
    def formats(self) -> tuple[ToolFormat, ...]:
        """The tool formats it was trained on, its default first; none for a base model."""
        if self.base:
            return ()
        return ("json", "function_tag") if self.classic else ("python_list",)

    def tool_format(self, wanted: str | None = None) -> ToolFormat:
        """The wanted tool format, or the default for None.

        Raises:
            ConfigError: The family was not trained on it, or there is no such format.
        """
        for known in self.formats:
            if wanted in (known, None):
                return known
        if self.base:
            raise ConfigError(f"{self} is a base model and calls no tools.", hint="Use the instruct model's family.")
        what = "does not write" if wanted in get_args(ToolFormat) else "knows no tool format called"
        raise ConfigError(f"{self} {what} {wanted!r}.", hint=f"Use {' or '.join(self.formats)}, or None.")
