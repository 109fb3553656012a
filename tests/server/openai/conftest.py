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

Serve = Callable[..., tuple[OpenAI, Served]]


def on_loop(running: Served, make: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
    """What a coroutine returns that runs on the server's loop."""
    return asyncio.run_coroutine_threadsafe(make(*args), running.loop).result(20)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a server whose model `m` follows a script; returns a client of it, and the server."""
    with ExitStack() as stack:

        def start(
            *replies: Any,
            prefix: str = "/v1",
            kept: bool = False,
            model: ScriptedModel | None = None,
            config: dict[str, Any] | None = None,
            **objects: Any,
        ) -> tuple[OpenAI, Served]:
            store = str(tmp_path / "sessions.db") if kept else None
            models = {"m": model or ScriptedModel(replies), **objects.pop("models", {})}
            offered = Stack(Config(store=store, **(config or {})), models=models, **objects)
            running = stack.enter_context(served(offered, settings=ServerConfig(port=0, drain_seconds=5)))
            client = OpenAI(base_url=running.url + prefix, api_key="none", max_retries=0, timeout=20)
            stack.callback(client.close)
            return client, running

        yield start
