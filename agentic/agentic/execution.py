"""Running one call, whatever it does, to exactly one result (promise 1)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from .protocols import Tool, ToolContext
from .types.content import Part, Text, storable
from .types.errors import describe
from .types.tools import ToolCall, ToolResponse, ToolStatus

MAX_TOGETHER = 32
"""How many calls run beside each other at the most, whatever a model asks for."""


async def execute(call: ToolCall, tools: Mapping[str, Tool], context: ToolContext) -> ToolResponse:
    """Runs one call.

    Args:
        call: The call. One that could not be read (`call.error`) is answered, not run.
        tools: What there is, by name.
        context: What the tool may know.

    Returns:
        The result. Nothing a tool does makes this raise, except that a cancelled task stays cancelled.
    """
    if call.error is not None:
        return answer(call, ToolStatus.ERROR, f"This call was not run: {call.error}")
    tool = tools.get(call.name)
    if tool is None:
        known = ", ".join(sorted(tools)) or "none"
        return answer(call, ToolStatus.UNKNOWN_TOOL, f"There is no tool called {call.name!r}. The tools are: {known}.")
    seconds = tool.policy.timeout
    try:
        async with asyncio.timeout(seconds) as timeout:
            output = await tool.invoke(call.arguments, context)
    except TimeoutError as error:
        if timeout.expired():
            text = f"{call.name} took longer than {seconds:g} s and was given up; it may still have taken effect."
            return answer(call, ToolStatus.TIMEOUT, text)
        return answer(call, ToolStatus.ERROR, describe(error))
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) and task.cancelling():
            raise
        return answer(call, ToolStatus.ERROR, f"{call.name} cancelled itself.")
    except (Exception, SystemExit, GeneratorExit) as error:
        return answer(call, ToolStatus.ERROR, describe(error))
    content = output.content
    clean = storable(content) if isinstance(content, str) else tuple(map(_clean, content))
    return ToolResponse(call.call_id, call.name, clean, ToolStatus.OK, storable(output.metadata))


def answer(call: ToolCall, status: ToolStatus, text: str) -> ToolResponse:
    """A result that tells the model what became of a call."""
    return ToolResponse(call.call_id, call.name, storable(text), status)


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
    return Text(storable(part.text)) if isinstance(part, Text) else part
