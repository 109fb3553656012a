"""Shields by the ids that clients use."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import plugins
from ..config import using
from ..protocols import Shield
from ..stack import Stack
from ..store.documents import Documents
from ..types.errors import ConfigError
from ..types.steps import OnError, Touchpoint
from .models import Models
from .registry import Registry

KIND = "shield"
GUARD = "llama_guard"
"""The shield behind an id that is the name of a model, as with Llama Stack."""
_AT_TOOLS = frozenset({Touchpoint.TOOL_CALL, Touchpoint.TOOL_RESULT})


@dataclass(frozen=True, slots=True)
class Entry:
    """One shield.

    Attributes:
        shield_id: As clients name it.
        provider_id: Which kind of shield is behind it.
        provider_shield_id: Its id here, such as `llama_guard::ollama/llama-guard3:1b`, or the name of a guard's model.
        params: What it was registered with.
    """

    shield_id: str
    provider_id: str
    provider_shield_id: str
    params: dict[str, Any] = field(default_factory=dict)


class Shields(Registry[Entry, Shield]):
    """The shields of a stack, and those that clients have registered; each is opened once.

    Args:
        stack: The configuration.
        documents: Where registrations are kept.
        models: Models that guards may be.
    """

    def __init__(self, stack: Stack, documents: Documents, models: Models) -> None:
        super().__init__(documents, Entry, kind=KIND, called="Shield")
        self._stack = stack
        self._models = models

    async def shield(self, shield_id: str) -> Shield:
        """The shield behind an id.

        Raises:
            NotFound: There is none of that id.
            ConfigError: It cannot be opened.
        """
        entry = await self.get(shield_id)
        if (given := self._stack.shields.get(shield_id)) is not None:
            return self._open.setdefault(shield_id, given)
        if shield_id not in self._open:
            here, config = await self._here(entry.provider_shield_id), await self._models.config()
            if shield_id not in self._open:  # no other request was faster
                with using(config):
                    self._open[shield_id] = plugins.load("shields", here)(here)
        return self._open[shield_id]

    async def for_agent(
        self, inputs: Sequence[str], outputs: Sequence[str], *, client_tools: bool = False
    ) -> dict[str, Any]:
        """An agent's lists of shields. Clients know two: what looks at tools does so from either of them.

        Args:
            inputs: The ids of those that look at what users say.
            outputs: The ids of those that look at answers.
            client_tools: Whether clients bring results of tools: input, as with Llama Stack.

        Raises:
            NotFound: There is no shield of one of these ids.
            ConfigError: One cannot be opened.
        """
        entering = [await self.shield(name) for name in inputs]
        leaving = [await self.shield(name) for name in outputs]
        unsaid = {id(shield): shield for shield in entering if not _looks(shield)}
        return {
            "input_shields": [shield for shield in entering if not _looks(shield) or _looks(shield) - _AT_TOOLS],
            "output_shields": [shield for shield in leaving if not _looks(shield) or _looks(shield) - _AT_TOOLS],
            "tool_shields": [
                *(shield for shield in (*entering, *leaving) if _looks(shield) & _AT_TOOLS),
                *map(_AtResults, unsaid.values() if client_tools else ()),
            ],
        }

    async def register(self, shield_id: str, provider_shield_id: str | None, params: Mapping[str, Any]) -> Entry:
        """Adds a shield.

        Args:
            shield_id: As clients will name it.
            provider_shield_id: Its id here, or the name of a guard's model; None takes `shield_id`.
            params: Kept and shown.

        Raises:
            InvalidInput: The configuration has a shield of that id.
            ConfigError: There is neither such a kind of shield nor such a model.
        """
        named = provider_shield_id or shield_id
        here = await self._here(named)
        plugins.load("shields", here)
        entry = Entry(shield_id, _kind(named), named, dict(params))
        await self._add(shield_id, entry)
        return entry

    async def _here(self, named: str) -> str:
        """The id here of what a client or the configuration names: a shield, or a guard by its model's name."""
        if _is_shield(named):
            return named
        for entry in await self._models.list():
            if entry.kind == "llm" and _bare(named) in (_bare(entry.model_id), _bare(entry.provider_model_id)):
                return f"{GUARD}::{entry.model_id}"
        if named.partition("/")[0] in plugins.names("inference"):
            return f"{GUARD}::{named}"
        raise ConfigError(
            f"There is no shield {named!r}, and no model of that name that could be a guard.",
            hint=f"Register the model first, or name a shield: {', '.join(plugins.names('shields'))}.",
        )

    def _configured(self) -> dict[str, Entry]:
        given = {name: Entry(name, _provider(shield.shield_id), name) for name, shield in self._stack.shields.items()}
        return {**given, **{name: Entry(name, _kind(here), here) for name, here in self._stack.config.shields.items()}}


class _AtResults:
    """A shield that does not say where it looks, looking at results of tools."""

    touchpoints = frozenset({Touchpoint.TOOL_RESULT})

    def __init__(self, shield: Shield) -> None:
        self.shield_id = shield.shield_id
        self.on_error: OnError = getattr(shield, "on_error", "block")
        self.check = shield.check


def _bare(model: str) -> str:
    """A model's name without whose it is and how it is written: `meta-llama/Llama-Guard-3-8B` is `llama-guard3:8b`."""
    return re.sub(r"[\W_]", "", model.rpartition("/")[2].lower())


def _looks(shield: Shield) -> frozenset[Touchpoint]:
    """Where a shield says that it looks."""
    return frozenset(getattr(shield, "touchpoints", None) or ())


def _is_shield(named: str) -> bool:
    return named.partition("::")[0] in {name.removesuffix("::*") for name in plugins.names("shields")}


def _kind(named: str) -> str:
    return _provider(named if _is_shield(named) else GUARD)


def _provider(shield_id: str) -> str:
    return shield_id.partition("::")[0].replace("_", "-")
