"""A caller's function or object as an embedding."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from agentic.threads import run_in_thread

from .checked import Checked, Compute

_METHODS = ("embed", "encode", "embed_documents")


def of_function(function: Callable[[list[str]], Any]) -> Checked:
    """A function of texts as an embedding; a sync one runs in a thread. Its module and name are the model string."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return Checked(f"function/{_name(named)}", _compute(function))


def of_object(given: Any, requests: int) -> Checked | None:
    """An object as an embedding, if it has a method that makes one; its `model` or its class is the model string."""
    method = next((found for name in _METHODS if callable(found := getattr(given, name, None))), None)
    if method is None:
        return None
    said = getattr(given, "model", None)
    model = said if isinstance(said, str) and said else f"object/{_name(type(given))}"
    return Checked(model, _compute(method), requests=requests, close=getattr(given, "aclose", None))


def _name(named: Any) -> str:
    return f"{getattr(named, '__module__', None) or type(named).__module__}.{named.__qualname__}"


def _compute(function: Callable[[list[str]], Any]) -> Compute:
    called = getattr(function, "__call__", None)  # noqa: B004 - an object may have an async one
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)

    async def compute(texts: list[str]) -> Any:
        found = function(texts) if is_async else await run_in_thread(lambda: function(texts), "agentic-embed")
        return await found if isinstance(found, Awaitable) else found

    return compute
