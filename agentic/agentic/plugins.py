"""Finding what other packages offer: entry points, loaded when they are first asked for.

Groups are `agentic.tools`, `agentic.memory`, `agentic.shields` and `agentic.inference`. An entry point names a
factory; its own name is an id (`builtin::websearch`, `llama_guard`) or a prefix ending in `::*` (`mcp::*`).
Those of `agentic.checks` are functions that tell `agentic doctor` whether something works here, and in words how.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Literal

from .types.errors import ConfigError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

Group = Literal["tools", "memory", "shields", "inference", "checks"]


def names(group: Group) -> list[str]:
    """The ids of one group, sorted."""
    return sorted({point.name for point in _points(group)})


def check(group: Group, name: str) -> EntryPoint:
    """The entry point of an id, not loaded.

    Raises:
        ConfigError: Nothing is registered under it.
    """
    if (point := _find(group, name)) is not None:
        return point
    known = names(group)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known) or 'none'}."
    raise ConfigError(f"Nothing called {name!r} is registered under agentic.{group}.", hint=hint)


def load(group: Group, name: str) -> Any:
    """Loads the factory behind an id.

    Raises:
        ConfigError: Nothing is registered under it, or it cannot be imported.
    """
    point = check(group, name)
    try:
        return point.load()
    except ImportError as error:
        extra = f" Install its extra: pip install 'agentic[{point.extras[0]}]'." if point.extras else ""
        raise ConfigError(f"{name!r} cannot be loaded: {error}.{extra}") from error


def _find(group: Group, name: str) -> EntryPoint | None:
    points = {point.name: point for point in _points(group)}
    prefix, separator, _ = name.partition("::")
    return points.get(name) or points.get(f"{prefix}{separator}*")


def _points(group: Group) -> EntryPoints:
    from importlib.metadata import entry_points  # it brings the email package along

    return entry_points(group=f"agentic.{group}")
