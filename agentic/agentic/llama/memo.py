"""Remembers what was made of an object, so that a long history is rendered once."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Generic, TypeVar

V = TypeVar("V")


class Memo(Generic[V]):
    """A bounded memory by the objects' identity.

    Looking an object up costs the same however large it is. What was made of an object is forgotten with the object,
    before its identity can pass to another one. A dict cannot be watched like that, so it is kept alive; it is mutable,
    too: its copy is kept, and must still equal it.

    Args:
        make: Makes the value, and says what remembering it costs.
        limit: The costs of all that is remembered together; the oldest are forgotten first.
    """

    def __init__(self, make: Callable[[object], tuple[V, int]], limit: int) -> None:
        self._make = make
        self._limit = limit
        self._spent = 0
        self._entries: dict[int, tuple[Callable[[], object], object, V, int]] = {}
        self._lock = threading.RLock()  # an object may end, and be forgotten, while this thread holds it

    def each(self, objects: Iterable[object]) -> list[V]:
        """What was made of each object, now or earlier."""
        get = self._entries.get
        values: list[V] = []
        for item in objects:
            entry = get(id(item))
            if entry is not None and entry[0]() is item and (entry[1] is None or entry[1] == item):
                values.append(entry[2])
            else:
                values.append(self._fresh(item))
        return values

    def _fresh(self, item: object) -> V:
        try:
            copy = deepcopy(item) if isinstance(item, dict) else None
        except (RecursionError, TypeError):  # it cannot be watched for changes, so it is not remembered
            return self._make(item)[0]
        value, cost = self._make(item)
        with self._lock:
            self._forget(id(item))
            if cost <= self._limit:
                self._entries[id(item)] = (self._watched(item), copy, value, cost)
                self._spent += cost
            while self._spent > self._limit:
                self._forget(next(iter(self._entries)))
        return value

    def _watched(self, item: object) -> Callable[[], object]:
        key = id(item)
        try:
            return weakref.ref(item, lambda _gone: self._forget_locked(key))
        except TypeError:
            return lambda: item

    def _forget_locked(self, key: int) -> None:
        with self._lock:
            self._forget(key)

    def _forget(self, key: int) -> None:
        if entry := self._entries.pop(key, None):
            self._spent -= entry[3]
