"""Running the application on uvicorn, and ending it without losing a turn."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from ..config import ServerConfig
from ..portal import run_sync
from ..stack import Stack
from ..types.errors import ConfigError
from .access import token_of
from .app import create_app
from .gate import LOOPBACK
from .patience import PatientProtocol
from .services import Services, Tenants

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
        app = create_app(stack)
        self.services: Services = app.state.services
        self.tenants: Tenants = app.state.tenants
        if self.settings.host not in LOOPBACK:
            try:
                check(self.settings, with_keys=run_sync(app.state.keys.any()))
            except BaseException:
                run_sync(self.tenants.aclose())
                raise
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
        await self.tenants.drain(self.settings.drain_seconds)
        await super().shutdown(sockets)


def check(settings: ServerConfig, *, with_keys: bool = False) -> None:
    """Refuses to be open to others without a token or a key.

    Args:
        settings: Where it would be open.
        with_keys: Whether its store has keys.

    Raises:
        ConfigError: It would be.
    """
    if settings.host not in LOOPBACK and not with_keys and not token_of(settings):
        raise ConfigError(
            f"The server would be open to everybody who reaches {settings.host}.",
            hint="Make a key (agentic server-keys add), set AGENTIC_SERVER_TOKEN, or serve on 127.0.0.1.",
        )
