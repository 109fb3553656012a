"""What comes with a request in the header `X-LlamaStack-Provider-Data`; it serves that request and no other.

Keys of web services, such as `tavily_search_api_key`; and under `mcp_headers` the headers for MCP servers, by their
URLs: `{"https://mcp.example.org/sse": {"Authorization": "Bearer …"}}`, or a list of `"Name: value"` as of old.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import Request

from ..keys import given
from ..types.errors import InvalidInput

HEADER = "x-llamastack-provider-data"
NAMES = {"tavily_search_api_key": "TAVILY_API_KEY", "brave_search_api_key": "BRAVE_SEARCH_API_KEY"}
"""Where Llama Stack calls a key otherwise than its service does; all others are upper-cased."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,8192}")
_TRANSPORT = frozenset({"connection", "content-length", "host", "mcp-session-id", "transfer-encoding"})
"""Headers that are the transport's own."""


@contextmanager
def provided(request: Request) -> Iterator[None]:
    """Makes a request's data known to the tasks that are started inside.

    Raises:
        InvalidInput: The header is no JSON object, or its `mcp_headers` cannot be sent.
    """
    data = _data(request)
    usable = {name: value for name, value in data.items() if isinstance(value, str) and _NAME.fullmatch(name)}
    keys = {NAMES.get(name, name.upper()): value for name, value in usable.items()}
    with given(keys, _mcp_headers(data.get("mcp_headers"))):
        yield


def _data(request: Request) -> dict[str, Any]:
    header = request.headers.get(HEADER)
    if not header:
        return {}
    try:
        data = json.loads(header)
    except (ValueError, RecursionError):
        raise InvalidInput("X-LlamaStack-Provider-Data must be a JSON object.") from None
    if not isinstance(data, dict):
        raise InvalidInput("X-LlamaStack-Provider-Data must be a JSON object.")
    return data


def _mcp_headers(listed: Any) -> dict[str, dict[str, str]]:
    if listed is not None and not isinstance(listed, dict):
        raise InvalidInput("mcp_headers are headers by the URL of their MCP server.")
    return {url: _headers(value) for url, value in (listed or {}).items()}


def _headers(value: Any) -> dict[str, str]:
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = {name: text.strip() for name, _, text in (line.partition(":") for line in value)}
    if not isinstance(value, dict):
        raise InvalidInput("mcp_headers has an object of names and values for each URL.")
    for name, text in value.items():
        sendable = _HEADER_NAME.fullmatch(name) and isinstance(text, str) and _HEADER_VALUE.fullmatch(text)
        if not sendable or name.lower() in _TRANSPORT:
            raise InvalidInput(f"mcp_headers cannot hold {name[:100]!r}.")
    return value
