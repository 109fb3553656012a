"""A real server on 127.0.0.1 for tests: uvicorn in a thread, ended as SIGTERM ends it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from agentic.config import Config, ServerConfig
from agentic.server.serving import Server
from agentic.stack import Stack

WAIT = 20.0
MODEL = "meta-llama/Llama-3.3-70B-Instruct"


class PromptServer(Server):
    """Ends when it is told to, where uvicorn looks every tenth of a second."""

    _told = False
    _stop: Callable[[], object] | None = None

    @property
    def should_exit(self) -> bool:
        return self._told

    @should_exit.setter
    def should_exit(self, told: bool) -> None:
        self._told = told
        if told and self._stop is not None:
            self._stop()

    async def main_loop(self) -> None:
        stopped, loop = asyncio.Event(), asyncio.get_running_loop()
        self._stop = partial(loop.call_soon_threadsafe, stopped.set)
        if not self._told:
            await stopped.wait()


@dataclass
class Served:
    """A server that runs.

    Attributes:
        url: Its address.
        server: The server itself.
        loop: The event loop that it runs on.
    """

    url: str
    server: Server
    loop: asyncio.AbstractEventLoop

    def soon(self, function: Callable[[], object]) -> None:
        """Calls a function on the server's loop."""
        self.loop.call_soon_threadsafe(function)


@contextmanager
def served(stack: Stack | None = None, *, settings: ServerConfig | None = None, **objects: Any) -> Iterator[Served]:
    """Serves a stack, or one of the given models, toolgroups, shields and banks that keeps nothing on disk."""
    stack = stack or Stack(Config(store=None), **objects)
    chosen = settings or ServerConfig(port=0, drain_seconds=5)
    stack.config = stack.config.model_copy(update={"server": chosen})
    started: Future[tuple[str, asyncio.AbstractEventLoop]] = Future()
    server = PromptServer(stack, lambda url: started.set_result((url, asyncio.get_running_loop())))
    thread = threading.Thread(target=server.run, name="served")
    thread.start()
    try:
        url, loop = started.result(WAIT)
        yield Served(url, server, loop)
    finally:
        server.should_exit = True
        thread.join(WAIT)
        assert not thread.is_alive()
