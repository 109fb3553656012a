"""How far adding documents has come, on the terminal or to a function."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .report import Report
from .rows import Change, Entry


@dataclass(slots=True)
class Tally:
    """What has happened so far."""

    started: float = field(default_factory=time.monotonic)
    names: dict[Change, list[str]] = field(default_factory=lambda: {"added": [], "changed": [], "unchanged": []})
    failed: dict[str, str] = field(default_factory=dict)
    chunks: int = 0

    def note(self, entries: Sequence[Entry], changes: Sequence[Change]) -> None:
        """Counts documents that were stored."""
        for entry, change in zip(entries, changes, strict=True):
            self.names[change].append(entry.name)
            self.chunks += 0 if change == "unchanged" else len(entry.chunks)

    def report(self) -> Report:
        """The whole of it."""
        return Report(
            **{change: tuple(names) for change, names in self.names.items()},
            failed=self.failed,
            chunks=self.chunks,
            seconds=time.monotonic() - self.started,
        )

    @property
    def done(self) -> int:
        """How many documents were stored, or could not be."""
        return sum(map(len, self.names.values())) + len(self.failed)


Told: TypeAlias = Callable[[str, Tally], None]
"""Hears the name of each document before it is read, and what was done so far."""


@contextlib.contextmanager
def shown(progress: bool | Callable[[str, int, int], None], total: int) -> Iterator[Told]:
    """Gives what is called with each document's name before it is read, and with what was done so far."""
    if progress is False:
        yield lambda _name, _tally: None
    elif callable(progress):
        yield lambda name, tally: progress(name, tally.done, tally.chunks)
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
            bar.update(task, completed=tally.done, description=words.replace("[", r"\["))

        yield told
        if tally is not None:
            bar.update(task, completed=tally.done, description=f"{tally.chunks} chunks")


def count_of(sources: Sequence[Any]) -> int:
    """How many documents there will be about; files are not read for it."""
    from .documents.sources import count

    paths = [os.fspath(source) for source in sources if isinstance(source, str | os.PathLike)]
    return len(sources) - len(paths) + count(paths)
