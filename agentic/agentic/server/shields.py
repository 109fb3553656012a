"""Shields by the ids that clients use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .. import plugins
from ..protocols import Shield
from ..stack import Stack
from ..store.documents import Documents
from ..types.errors import InvalidInput, NotFound

KIND = "shield"


@dataclass(frozen=True, slots=True)
class Entry:
    """One shield.

    Attributes:
        shield_id: As clients name it.
        provider_id: Which kind of shield is behind it.
        provider_shield_id: Its id here, such as `llama_guard::ollama/llama-guard3:1b`.
        params: What it was registered with.
    """

    shield_id: str
    provider_id: str
    provider_shield_id: str
    params: dict[str, Any] = field(default_factory=dict)


class Shields:
    """The shields of a stack, and those that clients have registered; each is opened once.

    Args:
        stack: The configuration.
        documents: Where registrations are kept.
    """

    def __init__(self, stack: Stack, documents: Documents) -> None:
        self._stack = stack
        self._documents = documents
        self._open: dict[str, Shield] = {}

    async def list(self) -> list[Entry]:
        """All shields, the configuration's first."""
        return list((await self._entries()).values())

    async def get(self, shield_id: str) -> Entry:
        """One shield.

        Raises:
            NotFound: There is none of that id.
        """
        entries = await self._entries()
        if (entry := entries.get(shield_id)) is None:
            raise NotFound(f"Shield {shield_id!r} not found.", hint=f"There are: {', '.join(entries) or 'none'}.")
        return entry

    async def shield(self, shield_id: str) -> Shield:
        """The shield behind an id.

        Raises:
            NotFound: There is none of that id.
            ConfigError: It cannot be opened.
        """
        entry = await self.get(shield_id)
        if shield_id not in self._open:
            given = self._stack.shields.get(shield_id)
            if given is None:
                given = plugins.load("shields", entry.provider_shield_id)(entry.provider_shield_id)
            self._open[shield_id] = given
        return self._open[shield_id]

    async def register(self, shield_id: str, provider_shield_id: str | None, params: Mapping[str, Any]) -> Entry:
        """Adds a shield.

        Args:
            shield_id: As clients will name it.
            provider_shield_id: Its id here; None takes `shield_id`.
            params: Kept and shown.

        Raises:
            InvalidInput: The configuration has a shield of that id.
            ConfigError: There is no such kind of shield.
        """
        if shield_id in self._configured():
            raise InvalidInput(f"The configuration has a shield {shield_id!r} already.")
        here = provider_shield_id or shield_id
        plugins.load("shields", here)
        entry = Entry(shield_id, _kind(here), here, dict(params))
        await self._documents.put(KIND, shield_id, asdict(entry))
        await self._forget(shield_id)
        return entry

    async def aclose(self) -> None:
        """Closes what was opened."""
        for shield_id in list(self._open):
            await self._forget(shield_id)

    async def _forget(self, shield_id: str) -> None:
        shield = self._open.pop(shield_id, None)
        if (aclose := getattr(shield, "aclose", None)) is not None:
            await aclose()

    async def _entries(self) -> dict[str, Entry]:
        registered = await self._documents.all(KIND)
        return {**self._configured(), **{document.name: Entry(**document.body) for document in registered}}

    def _configured(self) -> dict[str, Entry]:
        given = {name: Entry(name, _kind(shield.shield_id), name) for name, shield in self._stack.shields.items()}
        return {**given, **{name: Entry(name, _kind(here), here) for name, here in self._stack.config.shields.items()}}


def _kind(shield_id: str) -> str:
    return shield_id.partition("::")[0].replace("_", "-")
