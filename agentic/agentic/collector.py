"""A pause for the cyclic garbage collector while very many objects are made that all stay."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_pauses = 0
_was_enabled = False


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pauses it for the whole process; pauses of several threads may overlap.

    Reading a long session makes tens of thousands of objects, none of them garbage; looking through all of them again
    and again takes as long as making them.
    """
    global _pauses, _was_enabled  # noqa: PLW0603 - so is the collector's switch
    with _lock:
        if _pauses == 0:
            _was_enabled = gc.isenabled()
            gc.disable()
        _pauses += 1
    try:
        yield
    finally:
        with _lock:
            _pauses -= 1
            if _pauses == 0 and _was_enabled:
                gc.enable()
