r"""Tool calls as a Llama model writes them, so that reading them back gives the same calls.

Strings are JSON strings in all three formats: a JSON escape is a Python escape too. A special token's name within one
is written with an escape (`<\u007c…`), which keeps it whole without ever spelling the token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..types.errors import CodecError
from ..types.tools import ToolCall
from .families import ToolFormat
from .neutral import SPECIAL_LITERAL

_KEYWORD = re.compile(r"[^\W\d]\w*", re.ASCII)


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON, special tokens' names escaped.

    Raises:
        CodecError: It cannot be written as JSON.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, indent=indent, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise CodecError(f"This value cannot be written as JSON: {error}.") from None
    return SPECIAL_LITERAL.sub(r"<\\u007c", text)


def python_text(value: Any) -> str:
    """A JSON-like value as a Python literal.

    Raises:
        CodecError: It holds something that is not JSON-like, or is nested too deeply.
    """
    try:
        return _literal(value)
    except (ValueError, RecursionError) as error:
        raise CodecError(f"This value cannot be written as a Python literal: {error}.") from None


def code_of(call: ToolCall) -> str | None:
    """The program of a code-interpreter call; None for every other call."""
    if call.name == "code_interpreter" and call.arguments.keys() == {"code"}:
        code = call.arguments["code"]
        return code if isinstance(code, str) else None
    return None


def builtin_call(call: ToolCall) -> str:
    """`brave_search.call(query="…")`."""
    return _as_written(call) or f"{call.name}.call({_keywords(call.arguments)})"


def custom_calls(calls: Sequence[ToolCall], tool_format: ToolFormat) -> str:
    """Calls of custom tools as the body of one message.

    A call that could not be read is written as the model wrote it.

    Raises:
        CodecError: An argument cannot be written in this format.
    """
    if tool_format == "python_list":
        return f"[{', '.join(_as_written(call) or _python_call(call) for call in calls)}]"
    write = _json_call if tool_format == "json" else _tag_call
    joint = "; " if tool_format == "json" else ""
    return joint.join(_as_written(call) or write(call) for call in calls)


def _as_written(call: ToolCall) -> str:
    """What the model wrote for a call whose arguments could not be read; empty for every other call."""
    return call.raw if call.error and not call.arguments else ""


def _json_call(call: ToolCall) -> str:
    return json_text({"type": "function", "name": call.name, "parameters": call.arguments})


def _tag_call(call: ToolCall) -> str:
    return f"<function={call.name}>{json_text(call.arguments)}</function>"


def _python_call(call: ToolCall) -> str:
    return f"{call.name}({_keywords(call.arguments)})"


def _keywords(arguments: Mapping[Any, Any]) -> str:
    """`a=1, b="x"`; as one dict when a name is no Python name."""
    if all(isinstance(key, str) and _KEYWORD.fullmatch(key) for key in arguments):
        return ", ".join(f"{key}={python_text(value)}" for key, value in arguments.items())
    return python_text(arguments)


def _literal(value: Any) -> str:
    match value:
        case str():
            return json_text(value)
        case bool() | None | int() | float():
            return repr(value)
        case Mapping():
            return f"{{{_joined(f'{_literal(key)}: {_literal(item)}' for key, item in value.items())}}}"
        case list() | tuple():
            return f"[{_joined(map(_literal, value))}]"
    raise ValueError(f"{type(value).__name__} is not JSON-like")


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def _plain(value: Any) -> Any:
    """A mapping that is no dict is written as one."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON-like")
