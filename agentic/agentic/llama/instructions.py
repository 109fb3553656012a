"""Our own words to the model: what the tools are and how to call them, in the format that each family was trained on.

Names, descriptions and schemas come from outside: they are written as JSON, so none can end its string or its line.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from ..types.errors import CodecError, ConfigError, ToolDefinitionError
from ..types.tools import ToolDef
from .families import ToolFormat
from .writing import json_text

KNOWLEDGE_DATE = "December 2023"
TODAY = "21 September 2024"
"""The date in Meta's documents; written when the caller gives none, so that a prompt never depends on the clock."""

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

_JSON = (
    """\
You can call these functions when they help to answer. When none of them does, answer in plain words instead.

""",
    """

To call a function, reply with its call as JSON and with nothing else, in this form:
{"type": "function", "name": "name_of_the_function", "parameters": {"name_of_a_parameter": "its value"}}
Give a value for each required parameter, of the type that the function asks for. Never invent a function.""",
)

_FUNCTION_TAG = (
    """\
You can call these functions when they help to answer. When none of them does, answer in plain words instead.

""",
    """

To call a function, reply with its call on one line and with nothing before or after it, in this form:
<function=name_of_the_function>{"name_of_a_parameter": "its value"}</function>
Give a value for each required parameter, of the type that the function asks for. Never invent a function.""",
)

_PYTHON_LIST = (
    """\
You can call functions, but call them only when they are needed to answer. When none of them is needed, answer in \
plain words. When a required parameter is missing from the conversation, ask for it.

To call functions, reply with one list of calls in Python's syntax and with nothing else, in this form:
[first_function(parameter="value", other_parameter=2), second_function()]

Here is a list of functions in JSON format that you can call:

""",
    """

When a function's result is given to you, use it to answer.""",
)

_FRAMES: Mapping[ToolFormat, tuple[str, str]] = {
    "json": _JSON,
    "function_tag": _FUNCTION_TAG,
    "python_list": _PYTHON_LIST,
}


def definitions(descriptions: Sequence[str], tool_format: ToolFormat) -> str:
    """The instructions around the tools' descriptions, which `describe` made."""
    before, after = _FRAMES[tool_format]
    if tool_format == "python_list":
        inner = ",\n".join(descriptions)
        return f"{before}[\n{inner}\n]{after}"
    return before + "\n\n".join(descriptions) + after


def describe(tool: ToolDef, tool_format: ToolFormat) -> str:
    """One tool's description, in the documented form of its format.

    Raises:
        ToolDefinitionError: Its parameters are not JSON.
    """
    schema = dict(tool.parameters)
    body: dict[str, Any] = {"name": tool.name, "description": tool.description, "parameters": schema}
    if tool_format == "python_list":
        head = {"type": "dict", "required": schema.get("required", []), "properties": schema.get("properties", {})}
        body["parameters"] = head | {key: value for key, value in schema.items() if key not in head}
        text = _dump(tool.name, body, indent=4)
        return "    " + text.replace("\n", "\n    ")
    if tool_format == "json":
        return _dump(tool.name, {"type": "function", "function": body}, indent=4)
    return f"The function '{tool.name}':\n{_dump(tool.name, body)}"


def tool_choice_hint(choice: str) -> str:
    """What the system message says about a tool choice; nothing for `auto`."""
    if choice in ("auto", "none"):
        return ""
    if choice == "required":
        return "Answer this with a function call: you must use one of your functions or tools."
    return f"Answer this with a function call: you must use the tool `{choice}`."


def date_text(day: date | str | None) -> str:
    """A date as Meta's prompts write it, `05 March 2025`, whatever the locale; other text is taken as it is.

    Raises:
        ConfigError: It is neither a date nor text.
    """
    if isinstance(day, str):
        with contextlib.suppress(ValueError):
            day = date.fromisoformat(day)
    if not isinstance(day, date | str | None):
        raise ConfigError(f"today is a date or text, not {type(day).__name__}.")
    if isinstance(day, date):
        return f"{day.day:02d} {_MONTHS[day.month - 1]} {day.year}"
    return day or TODAY


def _dump(name: str, value: Any, indent: int | None = None) -> str:
    try:
        return json_text(value, indent)
    except CodecError as error:
        raise ToolDefinitionError(f"The parameters of the tool {name!r} are not JSON.", hint=str(error)) from None
