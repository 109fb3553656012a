"""Documents by their words."""

from __future__ import annotations

from pathlib import Path

from ..bank import MemoryBank


class KeywordBank(MemoryBank):
    """Finds documents by their words (BM25), without any model: the cheapest bank, and good at names and numbers.

    It has the methods of `MemoryBank`. A hit's score is its BM25: above 0, larger is better, and comparable within one
    question only.

    Args:
        name: Its name in the store.
        store: A path or URL as for sessions; `"default"` is the sessions' own file, None a bank that is gone when it is
            closed.
        timeout: Seconds to wait for another process that writes.
    """

    kind = "keyword"

    def __init__(self, name: str, *, store: str | Path | None = "default", timeout: float = 30.0) -> None:
        super().__init__(name, store=store, embedding=None, timeout=timeout)
