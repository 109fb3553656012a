"""Locks the calling process in, for good: limits, another user, Landlock, seccomp. By ctypes, nothing to install."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import stat
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import seccomp

_LIBC = ctypes.CDLL(None, use_errno=True)
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_CAPSET = {"x86_64": 126, "aarch64": 91}
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 1, 4, 8, 38
_CAP_DAC_READ_SEARCH = 2

_READ_FILE, _READ_DIR, _WRITE_FILE = 1 << 2, 1 << 3, 1 << 1
_MAKE_DEVICE_OR_SOCKET = 1 << 6 | 1 << 9 | 1 << 11
_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""How many rights over files each Landlock version knows; a version that is not listed knows those of the one below."""


def lock_in(config: dict[str, Any], folder: str, uid: int | None, parent: int) -> None:
    """Locks this process in. It must be single-threaded, and cannot get out again.

    Args:
        config: The zygote's: `level`, `readable` (paths), `limits` (bytes, seconds, counts).
        folder: The only folder that stays writable.
        uid: The user to become when this process is root's.
        parent: The process whose death ends this one.

    Raises:
        OSError: A part of the jail cannot be had here.
    """
    os.umask(0o077)
    jailed = config["level"] != "none"
    ruleset = _landlock(config["readable"], folder) if jailed else -1
    _limit(config["limits"], others=0 if uid is not None or not jailed else _own_namespace())
    if uid is not None:
        open_to_all = all(map(_open_to_all, config["readable"])) and _reachable_for_all(Path(folder))
        become(uid, keep_reading=jailed and not open_to_all)
    _prctl(_PR_SET_DUMPABLE, 1)  # or the host could not measure this process's memory
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise OSError(errno.ESRCH, "the parent has died")
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if jailed:
        _syscall(_LANDLOCK_RESTRICT, ruleset, 0)
        os.close(ruleset)
        _filter(seccomp.program(os.getpid()))


def become(uid: int, *, keep_reading: bool) -> None:
    """Turns root into an ordinary user without any right but, if asked, that of reading what only root may read.

    That right is needed where Python or the folder for temporary files lies in one of root's; Landlock still says which
    folders can be read.
    """
    if keep_reading:
        _prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    _set_capabilities(1 << _CAP_DAC_READ_SEARCH if keep_reading else 0)


def _own_namespace() -> int:
    """Takes a user namespace of its own, so that RLIMIT_NPROC counts this session only.

    Returns:
        How many threads count otherwise: zero, or all of the user's where there are no user namespaces.
    """
    if _LIBC.unshare(_CLONE_NEWUSER) == 0:
        _set_capabilities(0)
        return 0
    threads = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.stat().st_uid == os.getuid():
                threads += sum(1 for _ in (folder / "task").iterdir())
        except OSError:  # it has just ended
            continue
    return threads


def _limit(limits: dict[str, int], others: int) -> None:
    for name, value in (
        ("RLIMIT_CORE", 0),
        ("RLIMIT_CPU", limits["session_cpu"]),
        ("RLIMIT_DATA", limits["memory"]),
        ("RLIMIT_AS", limits["memory"] * 4),
        ("RLIMIT_FSIZE", limits["file_size"]),
        ("RLIMIT_NOFILE", limits["open_files"]),
        ("RLIMIT_NPROC", limits["threads"] + others),
        ("RLIMIT_MEMLOCK", 0),
        ("RLIMIT_MSGQUEUE", 0),
        ("RLIMIT_SIGPENDING", 256),
    ):
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        highest = resource.getrlimit(kind)[1]
        allowed = value if highest == resource.RLIM_INFINITY else min(value, highest)
        resource.setrlimit(kind, (allowed, allowed))


def _landlock(readable: Iterable[str], folder: str) -> int:
    """A ruleset: the paths of `readable` can be read, `folder` can be written, a few devices work."""
    version = _LIBC.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)
    if version < 1:
        raise OSError(ctypes.get_errno(), "the kernel has no Landlock (Linux 5.13, and `landlock` among its lsm=)")
    rights = (1 << _RIGHTS[max(known for known in _RIGHTS if known <= version)]) - 1
    attributes = struct.pack("=QQQ", rights, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    ruleset = _syscall(
        _LANDLOCK_CREATE, attributes, ctypes.c_size_t(24 if version >= 6 else 16 if version >= 4 else 8), 0
    )
    for path in readable:
        _allow(ruleset, path, _READ_FILE | _READ_DIR)
    for path in ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"):
        _allow(ruleset, path, _READ_FILE | (_WRITE_FILE if path == "/dev/null" else 0))
    _allow(ruleset, folder, rights & ~(_MAKE_DEVICE_OR_SOCKET | 1))
    return ruleset


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= ~_READ_DIR
        _syscall(_LANDLOCK_ADD, ruleset, 1, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _filter(program: bytes) -> None:
    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    loaded = Program(len(program) // 8, program)
    _syscall(_SECCOMP[os.uname().machine], 1, 0, ctypes.byref(loaded))


def _set_capabilities(kept: int) -> None:
    header = struct.pack("=Ii", 0x20080522, 0)
    _syscall(_CAPSET[os.uname().machine], header, struct.pack("=6I", kept, kept, 0, 0, 0, 0))


def _open_to_all(path: str) -> bool:
    """Whether any user may read a path; what is missing cannot be read by anyone."""
    place = Path(path)
    try:
        return bool(place.stat().st_mode & 0o004) and _reachable_for_all(place)
    except OSError:
        return True


def _reachable_for_all(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in path.parents)


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def _syscall(number: int, *arguments: Any) -> int:
    result: int = _LIBC.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}: {os.strerror(ctypes.get_errno())}")
    return result
