"""Assistant messages and tool calls exactly as `llama-models` writes them, its known defects included.

For comparing with Meta's reference, not for talking to a model: strings are not escaped, and calls of built-in tools
lack the python tag that the models themselves write.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..types.errors import CodecError
from ..types.messages import AssistantMessage
from ..types.tools import ToolCall
from .families import ToolFormat
from .prompt import Control, Segment
from .special import PYTHON_TAG


def meta_body(message: AssistantMessage, tool_format: ToolFormat) -> Iterator[Segment]:
    """The body of an assistant message, without its header and its end.

    Raises:
        CodecError: The reference cannot write one of its calls either.
    """
    if message.tool_calls and message.tool_calls[0].name == "code_interpreter":
        yield Control(PYTHON_TAG)
    yield message.content
    for call in message.tool_calls:
        yield _call(call, tool_format)


def _call(call: ToolCall, tool_format: ToolFormat) -> str:
    try:
        if call.name in ("brave_search", "wolfram_alpha", "photogen"):
            return f'{call.name}.call(query="{call.arguments["query"]}")'
        if call.name == "code_interpreter":
            return str(call.arguments["code"])
        if tool_format == "json":
            return json.dumps({"type": "function", "name": call.name, "parameters": call.arguments})
        if tool_format == "function_tag":
            return f"<function={call.name}>{json.dumps(call.arguments)}</function>"
        return f"[{call.name}({', '.join(f'{key}={_value(value)}' for key, value in call.arguments.items())})]"
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CodecError(f"llama-models cannot write this call of {call.name!r:.60}: {error}.") from None


def _value(value: Any) -> str:
    match value:
        case str():
            return f'"{value}"'
        case bool() | int() | float() | None:
            return str(value)
        case list():
            return f"[{', '.join(map(_value, value))}]"
        case dict():
            return f"{{{', '.join(f'{key}={_value(item)}' for key, item in value.items())}}}"
    raise TypeError(f"unsupported type {type(value).__name__}")
