"""The folders that sessions write to: measured and removed without trusting a name, a link or a depth in them."""

# Descriptors and flags are what matters here; pathlib has none.
# ruff: noqa: PTH116, PTH208

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from .limits import Limits

MAX_DEPTH = 48
MAX_MAPPINGS = 10_000
"""Each of a process's mappings is a line of up to 4 KiB in /proc, and it may have 65,530."""


def too_large(folder: Path, pid: int | None, limits: Limits) -> bool:
    """Whether a session's folder, with unlinked files that its process still holds, is over its limits.

    What cannot be measured (a tree that is nested too deep or unreadable, too many mappings) is too large.
    """
    used = _Used(limits.folder_size, limits.folder_files)
    try:
        if pid is not None:
            used.add_hidden(pid, f"{folder}/", limits.file_size)
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            used.add(top, 0)
        finally:
            os.close(top)
    except _TooLarge:
        return True
    return False


class _TooLarge(Exception):
    """Nothing more need be counted."""


class _Used:
    def __init__(self, most_bytes: int, most_files: int) -> None:
        self.bytes = most_bytes
        self.files = most_files

    def add(self, folder: int, depth: int) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    found = os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
                    self._count(found.st_blocks)
                    if entry.is_dir(follow_symlinks=False):
                        self._descend(folder, entry.name, depth + 1)
                except FileNotFoundError:  # it has just been removed
                    continue

    def _descend(self, folder: int, name: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise _TooLarge
        try:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        except PermissionError:
            raise _TooLarge from None
        except NotADirectoryError:
            return
        try:
            self.add(inner, depth)
        finally:
            os.close(inner)

    def add_hidden(self, pid: int, prefix: str, largest: int) -> None:
        """Counts unlinked files that the process holds.

        Of one that is only mapped nobody can see how large it is: a page may be all that is mapped of it. So it counts
        as the `largest` that there can be.
        """
        with contextlib.suppress(FileNotFoundError, PermissionError, ProcessLookupError):
            opened = set()
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(FileNotFoundError):
                    found = os.stat(f"/proc/{pid}/fd/{name}")
                    if found.st_nlink == 0:
                        opened.add(found.st_ino)
                        self._count(found.st_blocks)
            mapped = set()
            with Path(f"/proc/{pid}/maps").open(errors="replace") as lines:
                for number, line in enumerate(lines):
                    if number == MAX_MAPPINGS:
                        raise _TooLarge
                    if line.endswith(" (deleted)\n") and prefix in line:
                        mapped.add(int(line.split(maxsplit=5)[4]))
            for _ in mapped - opened:
                self._count(largest // 512)

    def _count(self, blocks: int) -> None:
        self.bytes -= blocks * 512
        self.files -= 1
        if self.bytes < 0 or self.files < 0:
            raise _TooLarge


def remove(folder: Path) -> None:
    """Removes a tree of any depth, with any names and modes. Nothing may write to it any more.

    Each folder inside is first moved to one place beside it, so that neither recursion nor long paths occur.
    """
    heap = folder.with_name(f"{folder.name}.removed")
    heap.mkdir(0o700)
    place = os.open(heap, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        folder.rename(heap / "0")
        waiting, count = ["0"], 0
        while waiting:
            name = waiting.pop()
            os.chmod(name, 0o700, dir_fd=place)
            current = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
            try:
                for entry in os.listdir(current):
                    found = os.stat(entry, dir_fd=current, follow_symlinks=False)
                    if stat.S_ISDIR(found.st_mode):
                        os.chmod(entry, 0o700, dir_fd=current)
                        count += 1
                        os.rename(entry, str(count), src_dir_fd=current, dst_dir_fd=place)
                        waiting.append(str(count))
                    else:
                        os.unlink(entry, dir_fd=current)
            finally:
                os.close(current)
            os.rmdir(name, dir_fd=place)
    finally:
        os.close(place)
    heap.rmdir()
