"""Exact prompts on stdout: byte for byte into a pipe, readable on a terminal."""

from __future__ import annotations

import re
import sys

from .text import cleaned

_SPECIAL = re.compile(r"<\|[A-Za-z0-9_]{1,64}\|>")


def print_prompt(prompt: str) -> None:
    """Prints a prompt; on a terminal special tokens stand out and control characters are left out."""
    if not sys.stdout.isatty():
        sys.stdout.write(prompt)
        sys.stdout.flush()
        return
    from rich.console import Console
    from rich.text import Text

    text = Text(cleaned(prompt))
    text.highlight_regex(_SPECIAL, "bold magenta")
    Console(highlight=False, soft_wrap=True).print(text)
