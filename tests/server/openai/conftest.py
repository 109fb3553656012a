"""A server with scripted models, and the real `openai` package as its client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from agentic.config import Config, ServerConfig
from agentic.stack import Stack
from agentic.testing import ScriptedModel
from server.serving import Served, served


class Serve:
    """Starts servers whose model `m` follows a script, and ends them.

    Args:
        folder: Where those that keep something keep it.
    """

    def __init__(self, folder: Path) -> None:
        self._store = str(folder / "sessions.db")
        self._open = ExitStack()

    def __call__(
        self,
        *replies: Any,
        prefix: str = "/v1",
        kept: bool = False,
        model: ScriptedModel | None = None,
        config: dict[str, Any] | None = None,
        **objects: Any,
    ) -> tuple[OpenAI, Served]:
        """Starts one; returns a client of it, and the server."""
        models = {"m": model or ScriptedModel(replies), **objects.pop("models", {})}
        offered = Stack(Config(store=self._store if kept else None, **(config or {})), models=models, **objects)
        running = self._open.enter_context(served(offered, settings=ServerConfig(port=0, drain_seconds=5)))
        client = OpenAI(base_url=running.url + prefix, api_key="none", max_retries=0, timeout=20)
        self._open.callback(client.close)
        return client, running

    def end(self) -> None:
        """Ends all of them."""
        self._open.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    starting = Serve(tmp_path)
    yield starting
    starting.end()


def on_loop(running: Served, make: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
    """What a coroutine returns that runs on the server's loop."""
    return asyncio.run_coroutine_threadsafe(make(*args), running.loop).result(20)
