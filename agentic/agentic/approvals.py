"""Approvals that hold for good: a small file in the user's settings, kept apart for each agent."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from .paths import config_dir
from .types.errors import ConfigError


def always_allowed(agent: str, tool: str) -> bool:
    """Whether the user allowed an agent's tool for good."""
    return tool in _read().get(agent, [])


def allow_always(agent: str, tool: str) -> None:
    """Allows an agent's tool for good.

    Raises:
        ConfigError: The file cannot be written.
    """
    allowed = _read()
    allowed[agent] = sorted({*allowed.get(agent, []), tool})
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            json.dump(allowed, file, indent=1)
        os.replace(file.name, path)  # noqa: PTH105 - atomic, also when two processes write
    except OSError as error:
        raise ConfigError(f"The approval cannot be kept in {path}: {error.strerror or error}.") from None


def _path() -> Path:
    return config_dir() / "approvals.json"


def _read() -> dict[str, list[str]]:
    try:
        found = json.loads(_path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{_path()} cannot be read: {error}.", hint="Mend or remove it.") from None
    return {str(agent): list(map(str, tools)) for agent, tools in found.items()} if isinstance(found, dict) else {}
