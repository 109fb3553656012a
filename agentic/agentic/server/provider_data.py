"""Keys that come with a request, in the header `X-LlamaStack-Provider-Data`. They serve that request and no other."""

from __future__ import annotations

import json
import re

from fastapi import Request

from ..types.errors import InvalidInput

HEADER = "x-llamastack-provider-data"
NAMES = {"tavily_search_api_key": "TAVILY_API_KEY", "brave_search_api_key": "BRAVE_SEARCH_API_KEY"}
"""Where Llama Stack calls a key otherwise than its service does; all others are upper-cased."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def given_keys(request: Request) -> dict[str, str]:
    """The keys, under the names of their environment variables.

    Raises:
        InvalidInput: The header is no JSON object of texts.
    """
    header = request.headers.get(HEADER)
    if not header:
        return {}
    try:
        data = json.loads(header)
    except ValueError:
        raise InvalidInput("X-LlamaStack-Provider-Data must be a JSON object.") from None
    if not isinstance(data, dict):
        raise InvalidInput("X-LlamaStack-Provider-Data must be a JSON object.")
    usable = {name: value for name, value in data.items() if isinstance(value, str) and _NAME.fullmatch(name)}
    return {NAMES.get(name, name.upper()): value for name, value in usable.items()}
