"""A caller's function as an embedding."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from agentic.threads import run_in_thread

from .checked import Checked


def of_function(function: Callable[[list[str]], Any]) -> Checked:
    """A function of texts as an embedding; a sync one runs in a thread. Its module and name are the model string."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    module = getattr(function, "__module__", None) or type(function).__module__

    async def compute(texts: list[str]) -> Any:
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
            return await function(texts)
        found = await run_in_thread(lambda: function(texts), "agentic-embed")
        return await found if isinstance(found, Awaitable) else found

    return Checked(f"function/{module}.{name}", compute)
