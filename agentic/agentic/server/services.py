"""What the routes share: one object for each tenant, made when it first asks."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Depends, Request

from ..stack import Stack
from ..store import Store, open_store
from ..store.documents import Documents
from ..types.errors import SessionBusy
from .agents import Agents
from .banks import Banks
from .models import Models
from .openai.running import Running
from .shields import Shields
from .tenants import TenantStore
from .toolgroups import Toolgroups
from .turns import Turns
from .watch import Watch

DRAIN_SECONDS = 30.0
"""How long a server that is told to end waits for running turns."""


class Services:
    """Everything that one tenant's requests work with.

    Args:
        stack: What the server offers.
        store: Where everything is kept; it stays open.
        watch: What is told of turns.
        tenant: Whose they are; empty for the operator's own.
        shared: The operator's banks, for a tenant.

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

    def __init__(self, stack: Stack, store: Store, watch: Watch, tenant: str = "", shared: Banks | None = None) -> None:
        self.stack = stack
        self.store = TenantStore(store, tenant)
        self.documents: Documents = self.store.documents
        self.models = Models(stack, self.documents)
        self.shields = Shields(stack, self.documents, self.models)
        self.banks = Banks(stack, self.documents, tenant, shared)
        self.toolgroups = Toolgroups(stack, self.documents, self.banks)
        self.turns = Turns(watch)
        self.responses = Running()
        self.agents = Agents(
            self.store,
            self.documents,
            models=self.models,
            toolgroups=self.toolgroups,
            shields=self.shields,
            banks=self.banks,
        )

        self._ready = False

    async def ready(self) -> Services:
        """The services, with the configuration's prompts in the store."""
        if not self._ready:
            self._ready = True  # who asks meanwhile adds them no second time
            try:
                await self.stack.add_prompts(self.store)
            except BaseException:
                self._ready = False
                raise
        return self

    async def aclose(self) -> None:
        """Waits for the running turns, cancels those that take too long, and closes what was opened."""
        await self.turns.drain(DRAIN_SECONDS)
        for part in (self.toolgroups, self.shields, self.banks, self.models):
            try:
                await asyncio.wait_for(part.aclose(), 5)
            except TimeoutError:
                continue  # the process ends anyway


class Tenants:
    """The services of every tenant, over one store.

    Args:
        stack: What the server offers.
        watch: What is told of turns.

    Raises:
        ConfigError: The stack's store keeps no documents.
    """

    def __init__(self, stack: Stack, watch: Watch) -> None:
        self._stack = stack
        self._watch = watch
        self._store = open_store(stack.config.store)
        self._known = {"": Services(stack, self._store, watch)}
        self._closing = False

    def of(self, tenant: str) -> Services:
        """One tenant's services; the operator's own for an empty name.

        Raises:
            SessionBusy: The server is about to end, and the tenant has not been there before.
        """
        if tenant not in self._known:
            if self._closing:
                raise SessionBusy("The server is about to end.")
            shared = self._known[""].banks
            self._known[tenant] = Services(self._stack, self._store, self._watch, tenant, shared)
        return self._known[tenant]

    async def drain(self, seconds: float) -> None:
        """Takes no new turns, waits for those that run, and cancels those that are not done in time."""
        self._closing = True
        await asyncio.gather(*(services.turns.drain(seconds) for services in self._known.values()))

    async def aclose(self) -> None:
        """Ends the running turns and closes everything."""
        await asyncio.gather(*(services.aclose() for services in self._known.values()))
        await self._store.aclose()


async def services_of(request: Request) -> Services:  # sync, it would run in a thread
    """The services of the tenant whose key a request came with."""
    tenants: Tenants = request.app.state.tenants
    return await tenants.of(getattr(request.state, "tenant", "")).ready()


Use = Annotated[Services, Depends(services_of)]
"""The type of a route's parameter that wants the services."""
