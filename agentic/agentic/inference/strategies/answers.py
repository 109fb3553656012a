"""An answer made from a tool's result, for models too small to put it into words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from string import Template
from typing import Any

from ...types.tools import ToolCall, ToolDef, ToolResponse, ToolStatus

_SENTENCE = re.compile(r"[\"“(*]?\w.*\s.*[.!?…][\"”)*]*", re.DOTALL)


def answer_for(responses: Sequence[ToolResponse], calls: Mapping[str, ToolCall], tools: Mapping[str, ToolDef]) -> str:
    """Says what the tools found, a paragraph each.

    A tool may bring its own wording as `metadata["answer"]`, such as `"It is $result in $city."`: `$result` is its
    text, the other names are the call's arguments.

    Args:
        responses: The results, in call order.
        calls: The calls, by their id.
        tools: The tools, by name.
    """
    paragraphs = [
        _paragraph(response, calls.get(response.call_id), tools.get(response.tool_name)) for response in responses
    ]
    return "\n\n".join(paragraphs)


def _paragraph(response: ToolResponse, call: ToolCall | None, tool: ToolDef | None) -> str:
    text = response.text.strip()
    name = response.tool_name.replace("_", " ").replace("-", " ") or "tool"
    if response.status is not ToolStatus.OK:
        return f"I could not do that: {_closed(text)}" if text else f"I could not do that: {name} gave no reason."
    if not text:
        return f"Done: {name} has finished; it said nothing."
    template = tool.metadata.get("answer") if tool else None
    if isinstance(template, str):
        values = {key: _words(value) for key, value in (call.arguments if call else {}).items()}
        return Template(template).safe_substitute(values | {"result": text})
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text if _SENTENCE.fullmatch(text) or "\n" in text else f"The result of {name} is: {_closed(text)}"
    if isinstance(value, dict) and value:
        found = "; ".join(f"{str(key).replace('_', ' ')}: {_words(item)}" for key, item in value.items())
        return f"Here is what {name} found. {_closed(found)}"
    return f"The result of {name} is {_words(value)}."


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and value and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(_words(item) for item in value)
    return "nothing" if value in (None, [], {}) else json.dumps(value, ensure_ascii=False)


def _closed(text: str) -> str:
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."
