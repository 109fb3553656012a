"""The levels that work on this machine, found by trying them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from agentic.types.errors import AgenticError
from agentic_tools.code_interpreter.environment import environment
from agentic_tools.code_interpreter.launch import launch
from agentic_tools.code_interpreter.limits import Limits


def works(level: Literal["strong", "medium"]) -> bool:
    try:
        launch(level, environment(), Limits(), ())[0].close()
    except AgenticError:
        return False
    return True


LEVELS = [level for level in ("strong", "medium") if works(level)]


def cpu_seconds(processes: Iterable[int]) -> float:
    """The CPU time of processes, together."""
    total = 0
    for pid in processes:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")
