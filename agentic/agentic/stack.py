"""A whole program's models and store from one `run.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .agent import Agent
from .config import Config, read_config, using
from .inference import connect
from .protocols import Inference, MemoryBank, Shield, Tool, Toolgroup
from .types.errors import ConfigError


class Stack:
    """What a configuration file describes, ready to build agents from, and for a server to offer.

    Args:
        config: The file's contents.
        models: Models besides the file's, or in their place, by name.
        toolgroups: Toolgroups, likewise, by id.
        shields: Shields, likewise, by the id that a server's clients use.
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

    def agent(self, *, model: str = "default", **options: Any) -> Agent:
        """An agent on one of the file's models and on its store; the other options are those of `Agent`."""
        with using(self.config):
            return Agent(self.model(model), **{"store": self.config.store, **options})
