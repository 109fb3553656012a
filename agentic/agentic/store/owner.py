"""Whether the process that holds a lease is still there."""

from __future__ import annotations

import os
import platform
import sys
from asyncio import AbstractEventLoop
from pathlib import Path

LEASE_SECONDS = 30.0
RENEW_SECONDS = 10.0

live: dict[str, AbstractEventLoop] = {}
"""The tokens of all leases that this process holds, whichever store object they came from, and the loops they are used
in: what was left behind in a loop that has closed cannot go on."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=live.clear)


def host() -> str:
    """Names the set of process ids that ours belongs to: two containers may share a host name, not a pid namespace."""
    try:
        return f"{platform.node()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return platform.node()


def abandoned(token: str | None, owner_host: str | None, pid: int | None, until: float | None, now: float) -> bool:
    """Whether a lease may be taken over.

    Args:
        token: The owner's token, or None when nobody has the lease.
        owner_host: The owner's `host()`.
        pid: The owner's process id.
        until: When the lease ends, in seconds since 1970.
        now: The time, on the same clock.
    """
    if token is None:
        return True
    if (loop := live.get(token)) is not None and not loop.is_closed():
        return False
    if owner_host == host() and pid is not None and (pid == os.getpid() or not _running(pid)):
        return True
    # An end that lies further ahead than any owner sets it was written before the clock was put back.
    return until is None or not now <= until <= now + 2 * LEASE_SECONDS


def _running(pid: int) -> bool:
    if os.name != "posix":
        return True  # there, kill() would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return not _zombie(pid)


def _zombie(pid: int) -> bool:
    """Whether the process is dead, and its parent has not asked for its exit status yet."""
    if sys.platform != "linux":
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in {b"Z", b"X"}
    except (OSError, IndexError):
        return False
