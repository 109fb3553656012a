"""What a turn may still use. A turn that runs inside a tool draws on its own budget and on those around it."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, Token
from types import TracebackType

from .types.turns import Limits


class Budget:
    """Time and tokens of one turn; entered while the turn runs.

    Attributes:
        deadline: When time ends, on the event loop's clock; None is no limit.
    """

    def __init__(self, limits: Limits, spent: int = 0) -> None:
        self._outer = _around.get()
        self._limit = limits.tokens
        self._spent = spent
        self._token: Token[Budget | None] | None = None
        own = None if limits.seconds is None else asyncio.get_running_loop().time() + limits.seconds
        deadlines = [own, self._outer.deadline if self._outer else None]
        self.deadline: float | None = min((end for end in deadlines if end is not None), default=None)

    def spend(self, tokens: int) -> None:
        """Counts tokens, here and around."""
        self._spent += tokens
        if self._outer:
            self._outer.spend(tokens)

    @property
    def exhausted(self) -> bool:
        """Whether the tokens are used up, here or around."""
        return (self._limit is not None and self._spent >= self._limit) or bool(self._outer and self._outer.exhausted)

    def __enter__(self) -> Budget:
        self._token = _around.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _around.reset(self._token)


_around: ContextVar[Budget | None] = ContextVar("agentic_budget", default=None)
