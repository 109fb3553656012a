"""The child of `agentic.isolation`: reads one call from stdin, runs it, writes one answer to stdout."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import runpy
import signal
import sys
import threading
from typing import Any

from .protocols import ToolContext
from .tool import Tool
from .types.errors import describe
from .types.serialise import to_json


def main() -> None:
    """Runs the call. What the function prints goes to stderr: stdout belongs to the answer."""
    answer, parent = os.fdopen(os.dup(1), "wb"), os.fdopen(os.dup(0), "rb")
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    order = json.loads(parent.readline())
    threading.Thread(target=_end_with, args=(parent.fileno(),), daemon=True).start()
    try:
        sys.path[:] = order["path"]
        found = _find(order["main"], order["module"], order["name"])
        tool = Tool(getattr(found, "function", found))
        result = b"=" + to_json(asyncio.run(tool.invoke(order["arguments"], ToolContext())))
    except BaseException as error:
        result = b"!" + describe(error).encode("utf-8", "replace")
    with answer:
        answer.write(result)


def _end_with(parent: int) -> None:
    """Waits until the process that asked has ended or given up, and ends with all that the call has started."""
    os.read(parent, 1)
    os.killpg(0, signal.SIGKILL)


def _find(script: str | None, module: str, name: str) -> Any:
    first, *rest = name.split(".")
    if script:
        found = runpy.run_path(script, run_name="__agentic_tool__")[first]
    else:
        found = getattr(importlib.import_module(module), first)
    for part in rest:
        found = getattr(found, part)
    return found


if __name__ == "__main__":
    main()
