"""Running the application on uvicorn, and ending it without losing a turn."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from ..config import ServerConfig
from ..stack import Stack
from ..types.errors import ConfigError
from .app import create_app
from .gate import LOOPBACK, token_of
from .patience import PatientProtocol
from .services import Services

_CLOSING_SECONDS = 5
"""How long connections may take to close once no turn runs any more."""


class Server(uvicorn.Server):
    """A server that lets running turns end before it does.

    Args:
        stack: What it serves; its configuration says where.
        ready: Called with the address once requests are taken.

    Raises:
        ConfigError: An address other than this machine's own needs a token, and there is none.
    """

    def __init__(self, stack: Stack, ready: Callable[[str], None] = lambda _url: None) -> None:
        self.settings: ServerConfig = stack.config.server
        check(self.settings)
        app = create_app(stack)
        self.services: Services = app.state.services
        self._ready = ready
        super().__init__(
            uvicorn.Config(
                app,
                http=PatientProtocol,
                loop="asyncio",
                ws="none",
                host=self.settings.host,
                port=self.settings.port,
                access_log=False,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=_CLOSING_SECONDS,
                timeout_keep_alive=75,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to take requests."""
        await super().startup(sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            host = self.settings.host
            self._ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes no new turns, lets those that run end with their readers, then closes everything."""
        await self.services.turns.drain(self.settings.drain_seconds)
        await super().shutdown(sockets)


def check(settings: ServerConfig) -> None:
    """Refuses to be open to others without a token.

    Raises:
        ConfigError: It would be.
    """
    if settings.host not in LOOPBACK and not token_of(settings):
        raise ConfigError(
            f"The server would be open to everybody who reaches {settings.host}.",
            hint="Set AGENTIC_SERVER_TOKEN (or server.token in the file), or serve on 127.0.0.1.",
        )
