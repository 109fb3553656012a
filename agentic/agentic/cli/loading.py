"""Tools named on the command line: `module:name`, `path/to/file.py:name`, or the id of a registered toolgroup."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from ..types.errors import ConfigError


def load_tools(names: Iterable[str]) -> list[Any]:
    """What `Agent(tools=…)` takes, in the order named. A list or tuple of tools may be named as well.

    Raises:
        ConfigError: A module cannot be imported, or holds nothing of that name.
    """
    tools: list[Any] = []
    for name in names:
        found = name if "::" in name else _load(name)
        tools.extend(found if isinstance(found, list | tuple) else [found])
    return tools


def _load(name: str) -> Any:
    where, colon, attribute = name.rpartition(":")
    if not colon or not where or not attribute:
        raise ConfigError(
            f"--tools {name}: a tool is named module:function, path/to/file.py:function, or by an id.",
            hint="For example --tools weather.py:forecast or --tools builtin::websearch.",
        )
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what it prints is not the command's answer
            module = _from_file(Path(where)) if where.endswith(".py") else _from_path(where)
    except ModuleNotFoundError as error:
        raise ConfigError(f"--tools {name}: there is no module {error.name!r}.") from error
    except OSError as error:
        raise ConfigError(f"--tools {name}: {where} cannot be read: {error.strerror or error}.") from error
    except Exception as error:
        raise ConfigError(f"--tools {name}: importing {where} failed: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, dir(module), n=1)
        raise ConfigError(
            f"--tools {name}: {where} holds no {attribute!r}.", hint=f"Did you mean {near[0]!r}?" if near else ""
        )
    return getattr(module, attribute)


def _from_path(module: str) -> ModuleType:
    _import_from(Path.cwd())
    importlib.invalidate_caches()  # the file may have been written a moment ago
    return importlib.import_module(module)


def _from_file(path: Path) -> ModuleType:
    path = path.expanduser().resolve()
    name = f"agentic_tools_from.{path}"
    if name in sys.modules:
        return sys.modules[name]
    _import_from(path.parent)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file.")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import_from(folder: Path) -> None:
    """As `python file.py` does: what lies beside the file can be imported."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
