"""What the routes share: one object, made once for each application."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Depends, Request

from ..stack import Stack
from ..store import KeepsDocuments, open_store
from ..store.documents import Documents
from ..types.errors import ConfigError
from .agents import Agents
from .banks import Banks
from .models import Models
from .openai.running import Running
from .shields import Shields
from .toolgroups import Toolgroups
from .turns import Turns

DRAIN_SECONDS = 30.0
"""How long a server that is told to end waits for running turns."""


class Services:
    """Everything that requests work with.

    Args:
        stack: What the server offers.

    Attributes:
        stack: The same.
        store: Sessions and their logs.
        documents: Small JSON documents beside them, by kind and name: agents, session names, registrations. They
            survive a restart as the sessions do.
        models: Model ids and what is behind them.
        toolgroups: Toolgroups and their tools.
        shields: Shields by id.
        banks: Memory banks (vector dbs) by id.
        turns: The turns that run, and the events of those that ran last.
        responses: Likewise for OpenAI's responses.
        agents: Agents' configurations, and the live sessions of agents.

    Raises:
        ConfigError: The stack's store keeps no documents.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.store = open_store(stack.config.store)
        if not isinstance(self.store, KeepsDocuments):
            raise ConfigError("A server needs a store that keeps documents, too: a path, a URL or None.")
        self.documents: Documents = self.store.documents
        self.models = Models(stack, self.documents)
        self.shields = Shields(stack, self.documents)
        self.banks = Banks(stack, self.documents)
        self.toolgroups = Toolgroups(stack, self.documents, self.banks)
        self.turns = Turns()
        self.responses = Running()
        self.agents = Agents(
            self.store,
            self.documents,
            models=self.models,
            toolgroups=self.toolgroups,
            shields=self.shields,
            banks=self.banks,
        )

    async def aclose(self) -> None:
        """Waits for the running turns, cancels those that take too long, and closes what was opened."""
        await self.turns.drain(DRAIN_SECONDS)
        for part in (self.toolgroups, self.shields, self.banks, self.models, self.store):
            try:
                await asyncio.wait_for(part.aclose(), 5)
            except TimeoutError:
                continue  # the process ends anyway


async def services_of(request: Request) -> Services:  # sync, it would run in a thread
    """The services of the application that a request came to."""
    services: Services = request.app.state.services
    return services


Use = Annotated[Services, Depends(services_of)]
"""The type of a route's parameter that wants the services."""
