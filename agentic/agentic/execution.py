"""Running one call, whatever it does, to exactly one result (promise 1)."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .protocols import Tool, ToolContext
from .tool import as_output
from .types.content import Part, Text, content_of, storable
from .types.errors import describe
from .types.tools import ToolCall, ToolResponse, ToolStatus

MAX_TOGETHER = 32
"""How many calls run beside each other at the most, whatever a model asks for."""


PATIENCE = 1.0
"""Seconds that a cancelled tool has to end; then it is left behind."""


async def execute(call: ToolCall, tools: Mapping[str, Tool], context: ToolContext) -> ToolResponse:
    """Runs one call.

    Args:
        call: The call. One that could not be read (`call.error`) is answered, not run.
        tools: What there is, by name.
        context: What the tool may know.

    Returns:
        The result. Nothing a tool does makes this raise, except that a cancelled task stays cancelled, unless the
        tool still returned something: that happened, and is the result.
    """
    if call.error is not None:
        return answer(call, ToolStatus.ERROR, f"This call was not run: {call.error}")
    tool = tools.get(call.name)
    if tool is None:
        known = ", ".join(sorted(tools)) or "none"
        return answer(call, ToolStatus.UNKNOWN_TOOL, f"There is no tool called {call.name!r}. The tools are: {known}.")
    seconds = tool.policy.timeout
    attempt = asyncio.ensure_future(_attempt(call, tool, context))
    try:
        await asyncio.wait({attempt}, timeout=seconds)
    except asyncio.CancelledError:
        if response := await _stopped(attempt):
            return response
        raise
    text = f"{call.name} took longer than {seconds or 0:g} s and was given up; it may still have taken effect."
    return await _stopped(attempt) or answer(call, ToolStatus.TIMEOUT, text)


async def _attempt(call: ToolCall, tool: Tool, context: ToolContext) -> ToolResponse:
    try:
        # A tool may change what it is given; the call stays as it was logged.
        arguments = copy.deepcopy(dict(call.arguments))
        return response_of(call, await tool.invoke(arguments, context))
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) and task.cancelling():
            raise
        return answer(call, ToolStatus.ERROR, f"{call.name} cancelled itself.")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise  # somebody pressed Ctrl-C
        return answer(call, ToolStatus.ERROR, describe(error))


async def _stopped(attempt: asyncio.Future[ToolResponse]) -> ToolResponse | None:
    """An attempt's result; None if it has none when it is cancelled, or takes no notice of that."""
    if not attempt.done():
        attempt.cancel()
        await asyncio.wait({attempt}, timeout=PATIENCE)
    return attempt.result() if attempt.done() and not attempt.cancelled() else None


def answer(call: ToolCall, status: ToolStatus, text: str) -> ToolResponse:
    """A result that tells the model what became of a call."""
    return ToolResponse(call.call_id, call.name, storable(text), status)


def response_of(call: ToolCall, returned: Any) -> ToolResponse:
    """The result that a call has when its tool returned this, fit for the log.

    Raises:
        InvalidInput: It holds something that is neither text nor an image.
        ToolError: It cannot be written as text.
    """
    output = as_output(returned)
    content = content_of(output.content)
    clean = storable(content) if isinstance(content, str) else tuple(map(_clean, content))
    metadata = storable(output.metadata)
    return ToolResponse(call.call_id, call.name, clean, ToolStatus.OK, metadata if isinstance(metadata, dict) else {})


def stages(calls: Sequence[ToolCall], tools: Mapping[str, Tool]) -> Iterator[list[ToolCall]]:
    """Groups calls: up to `MAX_TOGETHER` neighbours that may run in parallel, any other call by itself."""
    group: list[ToolCall] = []
    for call in calls:
        tool = tools.get(call.name)
        parallel = tool is None or tool.policy.parallel
        if group and (not parallel or len(group) == MAX_TOGETHER):
            yield group
            group = []
        if parallel:
            group.append(call)
        else:
            yield [call]
    if group:
        yield group


def _clean(part: Part) -> Part:
    return Text(storable(str(part.text))) if isinstance(part, Text) else part
