"""What a session may use."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

from agentic.types.content import MAX_FILE_BYTES
from agentic.types.errors import ConfigError

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What a session, and each call in it, may use.

    Attributes:
        timeout: Seconds for one call; then the code is interrupted, as by Ctrl-C.
        grace: Seconds that it has to react before its process is killed.
        cpu: CPU seconds for one call, over all its threads.
        session_cpu: CPU seconds for the whole session.
        memory: Bytes of memory.
        file_size: Bytes of one file.
        folder_size: Bytes of the session's folder.
        folder_files: Files and folders in it.
        output: Bytes of stdout, and of stderr, that are kept of a call: the head and the tail.
        flood: Bytes that a call may print at all.
        value: Characters of the last expression's value.
        traceback: Characters of a traceback.
        threads: Threads.
        open_files: Open files.
        images: Images that a call returns.
        pixels: Pixels of a figure.
        files: Files that a call returns.
        returned: Bytes of those files together, and of each image; all images together may have three times as many.
        listed: Files that are looked at to find those that changed.
        idle: Seconds without a call until a session's process is ended.
        keep: Seconds without a call until its folder is removed too.
        waiting: Sessions whose processes wait for another call; beyond that, the one that waits longest is ended.
    """

    timeout: float = 30.0
    grace: float = 2.0
    cpu: float = 60.0
    session_cpu: int = 3600
    memory: int = 1024 * MIB
    file_size: int = 64 * MIB
    folder_size: int = 256 * MIB
    folder_files: int = 10_000
    output: int = 64 << 10
    flood: int = 256 * MIB
    value: int = 20_000
    traceback: int = 8_000
    threads: int = 64
    open_files: int = 128
    images: int = 8
    pixels: int = 16_000_000
    files: int = 20
    returned: int = 8 * MIB
    listed: int = 2_000
    idle: float = 900.0
    keep: float = 86_400.0
    waiting: int = 128

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
                raise ConfigError(f"The limit {field.name} must be a positive number, not {value!r}.")
        if self.returned > MAX_FILE_BYTES:
            raise ConfigError(f"The limit returned is at most {MAX_FILE_BYTES:,} bytes: no file is larger.")

    @property
    def answer_text(self) -> int:
        """Bytes of an answer's JSON: a character takes up to twelve, and file names and notes take some."""
        return MIB + 12 * int(self.value + self.traceback)

    @property
    def answer_blobs(self) -> int:
        """Bytes of the files and images of an answer."""
        return 4 * int(self.returned)

    def for_worker(self) -> dict[str, float]:
        """As plain data; counts and sizes are whole numbers."""
        seconds = {"timeout", "grace", "cpu", "idle", "keep"}
        return {name: value if name in seconds else int(value) for name, value in asdict(self).items()}
