"""What a person sees while a model is fetched: a bar on a terminal, a line now and then elsewhere; all on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

LINES = 4
"""Lines printed while a file is fetched, when stderr is no terminal."""


class Reporter(Protocol):
    """Where progress is shown."""

    def progress(self, done: int) -> None:
        """Says how many bytes of the current file are there."""
        ...


class Silent:
    """Shows nothing."""

    def progress(self, done: int) -> None:
        """Drops it."""


class _Lines:
    def __init__(self, label: str, total: int | None) -> None:
        self._label, self._total, self._shown = label, total, 0

    def progress(self, done: int) -> None:
        if self._total and (share := done * LINES // self._total) > self._shown:
            self._shown = share
            note(f"{self._label}: {done / 1e6:.0f} of {self._total / 1e6:.0f} MB")


def note(text: str) -> None:
    """Prints a sentence."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def shown(label: str, total: int | None) -> Iterator[Reporter]:
    """A reporter for one file of `total` bytes (None: not known), as fits the terminal."""
    if not sys.stderr.isatty():
        lines = _Lines(label, total)
        note(f"Fetching {label}" + (f" ({total / 1e6:.0f} MB)" if total else "") + " …")
        yield lines
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(label, total=total)

        class Bar:
            def progress(self, done: int) -> None:
                bars.update(task, completed=done)

        yield Bar()
