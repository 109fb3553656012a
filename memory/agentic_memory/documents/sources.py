"""Files, folders, patterns and addresses as documents, one after another; what cannot be had is told."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agentic.net import FetchLimits, Guard, fetch
from agentic.threads import run_in_thread
from agentic.types.errors import AgenticError, InvalidInput, NotFound

from ..types import Document
from .formats import VAGUE

MAX_BYTES = 100 * 1024 * 1024
"""The largest file or page that is read."""
FETCH_SECONDS = 60.0

_SKIPPED = frozenset({"__pycache__", "node_modules", "CVS"})  # and everything hidden, .git among it
_URL = re.compile(r"https?://", re.IGNORECASE)
_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Failure:
    """A source that gave no document.

    Attributes:
        source: The path or URL.
        error: What kept it, in a sentence that says what to do.
    """

    source: str
    error: AgenticError


async def expand(
    sources: Iterable[str | Path | Document], *, guard: Guard | None = None
) -> AsyncIterator[Document | Failure]:
    """The documents behind some sources, in order, each read when it is asked for.

    A folder gives its files, sorted, with those of its subfolders; hidden files, caches of programs and symbolic links
    in it are passed over. A file that several sources name is read once.

    Args:
        sources: Paths, patterns such as `notes/**/*.md`, http(s) URLs, and documents, which come out as they are.
        guard: Which addresses may be fetched; by default the public web only.
    """
    seen: set[str] = set()
    for source in sources:
        if isinstance(source, Document):
            yield source
        elif isinstance(source, str) and _URL.match(source):
            yield await _fetched(source, guard)
        elif isinstance(source, str | os.PathLike):
            files = _files(os.fspath(source))
            while (found := await run_in_thread(lambda files=files: _next(files, seen), "document-files")) is not None:  # type: ignore[misc]
                yield found
        else:
            what = f"A source is a path, a URL or a Document, not {type(source).__name__}."
            error = InvalidInput(what, hint="Unpack a list: add(*sources).")
            yield Failure(repr(source)[:200], error)


async def _fetched(url: str, guard: Guard | None) -> Document | Failure:
    try:
        page = await fetch(url, FetchLimits(size=MAX_BYTES, seconds=FETCH_SECONDS, types=None), guard)
    except AgenticError as error:
        return Failure(url, error)
    content = page.text if page.charset and page.media_type.startswith("text/") else page.data
    return Document(
        content=content, id=url, source=url, mime_type=None if page.media_type in VAGUE else page.media_type
    )


def _next(files: Iterator[str | Failure], seen: set[str]) -> Document | Failure | None:
    for found in files:
        if isinstance(found, Failure):
            return found
        real = os.path.realpath(found)
        if real not in seen:
            seen.add(real)
            return _read(found)
    return None


def _files(source: str) -> Iterator[str | Failure]:
    path = os.path.expanduser(source)  # noqa: PTH111 - a Path would normalise what is only looked up
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or not _PATTERN.search(path):
            yield Failure(source[:1000], _unreadable(source, error))
            return
        matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - the pattern may be absolute
        if not matches:
            yield Failure(source[:1000], NotFound(f"No file matches {source!r}."))
        for match in matches:
            yield from _walk(match) if os.path.isdir(match) and not os.path.islink(match) else [match]  # noqa: PTH112, PTH114
        return
    yield from _walk(path) if stat.S_ISDIR(mode) else [path]


def _walk(folder: str) -> Iterator[str | Failure]:
    failures: list[Failure] = []
    for where, folders, names in os.walk(folder, onerror=lambda error: failures.append(_unlisted(error))):
        yield from failures
        failures.clear()
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED)
        for name in sorted(names):
            path = os.path.join(where, name)  # noqa: PTH118
            if not name.startswith(".") and not os.path.islink(path):  # noqa: PTH114
                yield path
    yield from failures


def _unlisted(error: OSError) -> Failure:
    return Failure(str(error.filename), _unreadable(str(error.filename), error))


def _read(path: str) -> Document | Failure:
    source = os.path.abspath(path)  # noqa: PTH100
    try:
        content = _content(path)
    except (OSError, ValueError) as error:
        return Failure(source, _unreadable(source, error))
    if content is None:
        return Failure(source, InvalidInput(f"{source} is no file but a pipe, a socket or a device."))
    if len(content) > MAX_BYTES:
        return Failure(source, InvalidInput(f"{source} has more than {MAX_BYTES:,} bytes.", hint="Split it."))
    return Document(content=content, source=source)


def _content(path: str) -> bytes | None:
    """The first bytes of a file; None for what is no regular file."""
    # Without O_NONBLOCK, opening a pipe would wait for somebody to write to it.
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:  # noqa: PTH123
        return file.read(MAX_BYTES + 1) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None


def _unreadable(path: str, error: Exception) -> AgenticError:
    shown = path if len(path) <= 200 else f"{path[:199]}…"
    if isinstance(error, FileNotFoundError | ValueError) or "\n" in path:
        return NotFound(f"There is no file {shown!r}.", hint="A text, rather than a path, is added with add_text.")
    return InvalidInput(f"Cannot read {shown!r}: {getattr(error, 'strerror', None) or error}.")


def count(given: Iterable[str]) -> int:
    """How many documents and failures `expand` will give, without reading a file."""
    seen: set[str] = set()
    failures = 0
    for source in given:
        for found in [source] if _URL.match(source) else _files(source):
            if isinstance(found, Failure):
                failures += 1
            else:
                seen.add(found if _URL.match(found) else os.path.realpath(found))
    return len(seen) + failures
