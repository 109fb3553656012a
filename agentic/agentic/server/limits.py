"""How often, and how much at a time, one key may ask. Each worker process counts for itself."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from .access import Key

_MOST = 10_000
"""How many idle keys are remembered."""


@dataclass(slots=True)
class _Use:
    """One key's use: its bucket of requests, and those under way."""

    left: float
    at: float
    running: int = 0


class Limits:
    """Token buckets, one for each key.

    Args:
        rate: Requests a minute for keys that have no limit of their own; None: as many as they like.
        concurrency: Requests at a time, likewise.
        clock: Seconds that never go back.
    """

    def __init__(
        self, rate: int | None = None, concurrency: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._concurrency = concurrency
        self._clock = clock
        self._uses: dict[str, _Use] = {}

    def enter(self, key: Key) -> tuple[str, int] | None:
        """Counts a request in, or says why it cannot be now, and after how many seconds to try again."""
        now = self._clock()
        rate = key.rate or self._rate
        most = key.concurrency or self._concurrency
        use = self._uses.get(key.key_id)
        if use is None:
            self._trim()
            use = self._uses[key.key_id] = _Use(float(rate or 0), now)
        if most is not None and use.running >= most:
            return f"{most} requests run under this key; that is as many as it may have at a time.", 1
        if rate is not None:
            use.left, use.at = min(float(rate), use.left + (now - use.at) * rate / 60), now
            if use.left < 1:
                return f"This key may ask {rate} times a minute.", max(1, math.ceil((1 - use.left) * 60 / rate))
            use.left -= 1
        use.running += 1
        return None

    def leave(self, key: Key) -> None:
        """Counts a request out again."""
        self._uses[key.key_id].running -= 1

    def _trim(self) -> None:
        if len(self._uses) >= _MOST:
            self._uses = {name: use for name, use in self._uses.items() if use.running}
