"""A file that is being fetched: its bytes so far, and a note of where they came from, so that a later run resumes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ..types.errors import InvalidResponse
from .progress import Reporter, Silent
from .registry import ModelFile


@dataclass(slots=True)
class Partial:
    """The growing copy of one file.

    Attributes:
        file: What is being fetched.
        path: Where the bytes are gathered.
        reporter: Where progress is shown.
        cancel: Set by whoever no longer wants the file.
        sha256: The hash that the finished file must have, once it is known.
    """

    file: ModelFile
    path: Path
    reporter: Reporter = field(default_factory=Silent)
    cancel: threading.Event = field(default_factory=threading.Event)
    sha256: str | None = None

    @property
    def _note(self) -> Path:
        return self.path.with_name(self.path.name + ".state")

    def size(self) -> int:
        """Bytes gathered so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def state(self, source: str) -> dict[str, Any]:
        """What was noted with the bytes here, if they came from this source; else the bytes are dropped."""
        try:
            noted = json.loads(self._note.read_text())
            if isinstance(noted, dict) and noted.get("source") == source and self.size() >= noted.get("bytes", 0):
                return noted
        except (OSError, ValueError):
            pass
        self.drop()
        return {"source": source, "bytes": 0}

    def keep(self, state: Mapping[str, Any]) -> None:
        """Notes where the bytes come from, and how many are sound."""
        temporary = self._note.with_suffix(".tmp")
        temporary.write_text(json.dumps(dict(state)))
        temporary.replace(self._note)

    def drop(self) -> None:
        """Forgets everything."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        """Moves the whole file to its place in one step."""
        self.path.replace(target)
        self._note.unlink(missing_ok=True)

    def check(self) -> None:
        """Raises `CancelledError` when nobody wants the file any more."""
        if self.cancel.is_set():
            raise CancelledError

    @contextmanager
    def writing(self, start: int) -> Iterator[Sink]:
        """Opens the file to go on at byte `start`; what lies behind it is cut off."""
        with self.path.open("r+b" if self.path.exists() else "wb") as stream:
            stream.truncate(start)
            stream.seek(start)
            yield Sink(self, stream, start)


class Sink:
    """Appends bytes, shows progress, and stops at a cancel or at more bytes than the file may have."""

    def __init__(self, partial: Partial, stream: BinaryIO, start: int) -> None:
        self._partial, self._stream, self.position = partial, stream, start

    def write(self, data: bytes) -> None:
        """Appends some bytes."""
        self._partial.check()
        self.position += len(data)
        size = self._partial.file.size
        if size is not None and self.position > size:
            raise InvalidResponse(f"{self._partial.file.name} is larger than the {size:,} bytes that it should have.")
        self._stream.write(data)
        self._partial.reporter.progress(self.position)
