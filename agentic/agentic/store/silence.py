"""PostgreSQL connections that give a silent server up.

A server that is frozen (a debugger, a paused container, a disk that hangs) still acknowledges what it is sent, so that
no time-out of TCP ends the wait for its answer, and none of its own does either.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeAlias, TypeVar

import psycopg

T = TypeVar("T")
Waits: TypeAlias = Generator[Any, Any, T]
Connection: TypeAlias = "psycopg.Connection[Any]"


def connection_class(seconds: float) -> type[Connection]:
    """A connection of psycopg's that breaks when the server says nothing for so long."""

    class Impatient(psycopg.Connection[Any]):
        def wait(self, gen: Waits[T], *how: Any, **options: Any) -> T:
            return super().wait(_answered(gen, self, seconds), *how, **options)

    return Impatient


def _answered(gen: Waits[T], connection: Connection, seconds: float) -> Waits[T]:
    """Hands on what psycopg waits for; it is sent something false when nothing has come for a moment."""
    heard = time.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready:
                heard = time.monotonic()
            elif time.monotonic() - heard > seconds:
                connection.close()  # else a rollback would wait as long again
                raise psycopg.OperationalError(f"the server has said nothing for {seconds:g} s")
            wanted = gen.send(ready)
    except StopIteration as done:
        value: T = done.value
        return value
