"""Tools in a process of their own: for what may crash, leak or hang. It is no security boundary.

The child is a new interpreter (never a fork of this process) in a session of its own, so that it can be killed with
everything it started. It imports the function by name; arguments and result are JSON over its stdin and stdout. Its
stdin stays open as long as the call runs: when it ends, this process has died, and the child ends too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from typing import Any

from .protocols import ToolOutput
from .types.errors import ToolDefinitionError, ToolError
from .types.serialise import from_json


def check_importable(function: Callable[..., Any]) -> None:
    """A child finds its function by module and name.

    Raises:
        ToolDefinitionError: It cannot.
    """
    name = getattr(function, "__qualname__", "")
    main = sys.modules["__main__"]
    if not name or "<" in name or (function.__module__ == "__main__" and not getattr(main, "__file__", None)):
        raise ToolDefinitionError(
            f"{name or function!r} cannot run in a process of its own: a new process cannot import it.",
            hint="Define the function at the top of a module.",
        )


async def run_in_process(function: Callable[..., Any], arguments: Mapping[str, Any]) -> ToolOutput:
    """Runs a tool's function in a new process; a cancelled or timed-out call kills it with all its children.

    Raises:
        ToolError: What the function raised, or that its process died.
    """
    order = {
        "path": sys.path,
        "main": sys.modules["__main__"].__file__ if function.__module__ == "__main__" else None,
        "module": function.__module__,
        "name": function.__qualname__,
        "arguments": dict(arguments),
    }
    command = [sys.executable, "-m", "agentic.isolated"]
    child = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, start_new_session=True)
    assert child.stdin and child.stdout  # noqa: S101, PT018 - both are pipes
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died at once, which its answer tells
            child.stdin.write(json.dumps(order).encode() + b"\n")
            await child.stdin.drain()
        answer = await child.stdout.read()
        await child.wait()
    finally:
        child.stdin.close()
        await _kill(child)
    if answer[:1] == b"=":
        output: ToolOutput = from_json(ToolOutput, answer[1:])
        return output
    if answer[:1] == b"!":
        raise ToolError(answer[1:].decode("utf-8", "replace"))
    raise ToolError(f"The tool's process ended without a result (exit code {child.returncode}).")


async def _kill(child: Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    await child.wait()
