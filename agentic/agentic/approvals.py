"""Approvals that hold for good: a small file in the user's settings, kept apart for each agent."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

from .paths import config_dir
from .types.errors import ConfigError
from .types.tools import ToolDef


def always_allowed(agent: str, tool: ToolDef) -> bool:
    """Whether the user allowed an agent's tool for good."""
    return _entry(tool) in _read().get(agent, [])


def allow_always(agent: str, tool: ToolDef) -> None:
    """Allows an agent's tool for good, as it is described now: another tool of its name is asked about again.

    Raises:
        ConfigError: The file cannot be written.
    """
    allowed = _read()
    allowed[agent] = sorted({*allowed.get(agent, []), _entry(tool)})
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            json.dump(allowed, file, indent=1)
        os.replace(file.name, path)  # noqa: PTH105 - atomic, also when two processes write
    except OSError as error:
        raise ConfigError(f"The approval cannot be kept in {path}: {error.strerror or error}.") from None


def _entry(tool: ToolDef) -> str:
    text = json.dumps([tool.description, tool.parameters], sort_keys=True, default=repr)
    return f"{tool.name} {hashlib.sha256(text.encode()).hexdigest()}"


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
