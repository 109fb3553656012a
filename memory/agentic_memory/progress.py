"""How far adding documents has come, on the terminal or to a function."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adding import Tally

Told = Callable[[str, "Tally"], None]


@contextlib.contextmanager
def shown(progress: bool | Callable[[str, int, int], None], total: int) -> Iterator[Told]:
    """Gives what is called with each document's name before it is read, and with what was done so far."""
    if progress is False:
        yield lambda _name, _tally: None
    elif callable(progress):
        yield lambda name, tally: progress(name, _done(tally), tally.chunks)
    else:
        with _bar(total) as told:
            yield told


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Told]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.description}"), speed_estimate_period=600.0) as bar:
        task = bar.add_task("", total=total)
        tally: Tally | None = None

        def told(name: str, so_far: Tally) -> None:
            nonlocal tally
            tally = so_far
            rate = tally.chunks / max(bar.tasks[task].elapsed or 0.0, 0.1)
            words = f"{tally.chunks} chunks, {rate:.0f}/s: {name[-60:]}"
            bar.update(task, completed=_done(tally), description=words.replace("[", r"\["))

        yield told
        if tally is not None:
            bar.update(task, completed=_done(tally), description=f"{tally.chunks} chunks")


def count_of(sources: Sequence[Any]) -> int:
    """How many documents there will be about; files are not read for it."""
    from .documents.sources import count

    paths = [os.fspath(source) for source in sources if isinstance(source, str | os.PathLike)]
    return len(sources) - len(paths) + count(paths)


def _done(tally: Tally) -> int:
    return sum(map(len, tally.names.values())) + len(tally.failed)
