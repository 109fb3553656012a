"""Folders that a killed process left behind: each is locked by its owner, and whoever gets the lock may remove it."""

# Descriptors and flags are what matters here; pathlib has none.
# ruff: noqa: PTH116

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time
from pathlib import Path

from . import folder as folders

PREFIX = "agentic-code-"
_LOCK = "owner.lock"
_UNLOCKED_SECONDS = 3600.0
"""A folder without a lock may be about to get one; after this time it was left behind."""


def make() -> tuple[Path, int]:
    """Makes a folder for this process: it, and the descriptor that holds its lock."""
    import fcntl

    base = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
    new = base / f"{_LOCK}.new"
    lock = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    new.rename(base / _LOCK)  # nobody can see it unlocked
    return base, lock


def sweep() -> None:
    """Removes the folders whose owners are dead."""
    for base in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if _abandoned(base):
                folders.remove(base)


def _abandoned(base: Path) -> bool:
    """Whether a folder is ours, and no process has it."""
    import fcntl

    found = os.stat(base, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        return False
    try:
        lock = os.open(base / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return time.time() - found.st_mtime > _UNLOCKED_SECONDS
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
