"""Built-in tools: web search, Wolfram Alpha, web pages, code, MCP servers. Each is imported when it is first used."""

from __future__ import annotations

import importlib
import typing

if typing.TYPE_CHECKING:
    from .code_interpreter import CodeInterpreter
    from .fetch import Fetch
    from .mcp import MCP
    from .websearch import WebSearch
    from .wolfram import WolframAlpha

__all__ = ["MCP", "CodeInterpreter", "Fetch", "WebSearch", "WolframAlpha"]

_MODULES = {
    "MCP": "mcp",
    "CodeInterpreter": "code_interpreter",
    "Fetch": "fetch",
    "WebSearch": "websearch",
    "WolframAlpha": "wolfram",
}


def __getattr__(name: str) -> typing.Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
