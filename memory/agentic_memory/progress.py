"""How far adding documents has come, on the terminal or to a function."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .adding import Tally

Told = Callable[[str, "Tally"], None]


@contextlib.contextmanager
def shown(progress: bool | Callable[[str, int, int], None]) -> Iterator[Told]:
    """Gives what is called with each document's name before it is read, and with what was done so far."""
    if progress is False:
        yield lambda _name, _tally: None
    elif callable(progress):
        yield lambda name, tally: progress(name, _done(tally), tally.chunks)
    else:
        with _bar() as told:
            yield told


@contextlib.contextmanager
def _bar() -> Iterator[Told]:
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("Reading")

        def told(name: str, tally: Tally) -> None:
            rate = tally.chunks / max(bar.tasks[task].elapsed or 0.0, 0.1)
            words = f"{_done(tally)} documents, {tally.chunks} chunks, {rate:.0f} a second: {name[:60]}"
            bar.update(task, description=words.replace("[", r"\["))

        yield told


def _done(tally: Tally) -> int:
    return sum(map(len, tally.names.values())) + len(tally.failed)
