"""Where sessions live: an append-only log for each, with one writer at a time.

`open_store` picks the store; `Store` is what every store can do. `SqlStore` (in `agentic.store.sql`) needs
SQLAlchemy and is imported only when a file or a URL is opened.
"""

from __future__ import annotations

from pathlib import Path

from ..types.errors import ConfigError
from .base import Lease, Store
from .documents import KeepsDocuments
from .memory import MemoryStore
from .prompts import KeepsPrompts

__all__ = ["KeepsDocuments", "KeepsPrompts", "Lease", "MemoryStore", "Store", "open_store"]


def open_store(where: Store | str | Path | None = "default") -> Store:
    """Names a store. Nothing on disk is touched before its first use.

    Args:
        where: `"default"` is the file `sessions.db` in the user's data folder, `None` is memory; otherwise a path to an
            SQLite file, a URL (`sqlite:///…`, `postgresql://…`), or a store, which is returned as it is.

    Raises:
        ConfigError: The URL cannot be used, or its driver is not installed.
    """
    if where is None:
        return MemoryStore()
    if isinstance(where, str | Path):
        if not str(where).strip():
            raise ConfigError("A store needs a path or a URL; use store=None to keep sessions in memory.")
        from .sql import SqlStore

        return SqlStore(_default_file() if where == "default" else where)
    if not isinstance(where, Store):
        raise ConfigError(f"A store is a path, a URL, None or a store, not {type(where).__name__}.")
    return where


def _default_file() -> Path:
    from ..paths import data_dir

    return data_dir() / "sessions.db"
