"""A whole program's models and store from one `run.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from .agent import Agent
from .config import Config, ModelConfig, prompt_of, read_config, using
from .inference import connect
from .portal import run_sync
from .prompts import PromptStore
from .protocols import Inference, MemoryBank, Shield, Tool, Toolgroup
from .shield import SHIELD_LISTS
from .store import Store, open_store
from .types.errors import ConfigError, NotFound


class Stack:
    """What a configuration file describes, ready to build agents from, and for a server to offer.

    Args:
        config: The file's contents.
        models: Models besides the file's, or in their place, by name.
        toolgroups: Toolgroups, likewise, by id.
        shields: Shields, likewise, by the id that agents and a server's clients use.
        banks: Memory banks, likewise, by name.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        models: Mapping[str, Inference] | None = None,
        toolgroups: Mapping[str, Toolgroup | Sequence[Tool]] | None = None,
        shields: Mapping[str, Shield] | None = None,
        banks: Mapping[str, MemoryBank] | None = None,
    ) -> None:
        self.config = config or Config()
        self.models = dict(models or {})
        self.toolgroups = dict(toolgroups or {})
        self.shields = dict(shields or {})
        self.banks = dict(banks or {})

    @classmethod
    def from_config(cls, path: str | Path) -> Stack:
        """Reads `run.yaml`; `agentic.config` says what it may hold.

        Raises:
            ConfigError: The file is missing or wrong; the message names the line.
        """
        return cls(read_config(path))

    def model(self, name: str = "default") -> Inference:
        """Connects to one of the file's models.

        Raises:
            ConfigError: The file names no such model, or it cannot be connected to.
        """
        if (given := self.models.get(name)) is not None:
            return given
        chosen = self.config.models.get(name)
        if chosen is None:
            known = ", ".join([*self.models, *self.config.models]) or "none"
            raise ConfigError(f"The configuration has no model called {name!r}.", hint=f"It has: {known}.")
        inference = connect(chosen.model, endpoint=chosen.endpoint, api_key=chosen.api_key, **chosen.options)
        if chosen.tool_strategy is None:
            return inference
        from .inference.strategies import with_strategy

        return with_strategy(inference, chosen.tool_strategy)

    def context_tokens(self, model: str) -> int | None:
        """How many tokens a model's context holds, where the file says so."""
        chosen = None if model in self.models else self.config.models.get(model)
        return chosen.context_tokens if chosen else None

    def settings(self, model: str, *, type: Literal["llm", "embedding"] = "llm") -> ModelConfig:
        """Where a `provider/model` stands that the file does not name: with its provider's others, if in one place."""
        provider = model.partition("/")[0]
        listed = [one for one in self.config.models.values() if one.model.partition("/")[0] == provider]
        places = {(one.endpoint, one.api_key) for one in listed}
        endpoint, api_key = places.pop() if len(places) == 1 else (None, None)
        return ModelConfig(model=model, type=type, endpoint=endpoint, api_key=api_key)

    def agent(self, *, model: str = "default", **options: Any) -> Agent:
        """An agent on one of the file's models and on its store; the other options are those of `Agent`.

        Shields of the file go by their names there.
        """
        settings = {"store": self.config.store, "context_tokens": self.context_tokens(model), **options}
        for name in SHIELD_LISTS & options.keys():
            settings[name] = self._shields(options[name])
        if settings.get("prompt") is not None and self.config.prompts:
            if settings["store"] is None:
                settings["store"] = open_store(None)  # where the agent finds them
            run_sync(self.add_prompts(settings["store"]))
        with using(self.config):
            return Agent(self.model(model), **settings)

    async def add_prompts(self, store: Store | str | Path | None) -> None:
        """Puts the file's prompts into a store: a text of which it has no version becomes the default one.

        Raises:
            StoreError: The store failed.
        """
        prompts = PromptStore(store)
        try:
            for name, given in self.config.prompts.items():
                draft, known = prompt_of(name, given), []
                with suppress(NotFound):
                    known = [(one.template, one.variables) for one in await prompts.aversions(name)]
                if (draft.template, draft.variables) not in known:
                    await prompts.aset(name, draft.template, variables=draft.variables, note=draft.note)
        finally:
            if not isinstance(store, Store):  # otherwise it is the caller's own
                await prompts.aclose()

    def _shields(self, given: Any) -> Any:
        """A list of shields, with those of this stack in the place of their names."""
        if not isinstance(given, list | tuple):
            return given
        named = {**self.config.shields, **self.shields}
        return [named.get(one, one) if isinstance(one, str) else one for one in given]
