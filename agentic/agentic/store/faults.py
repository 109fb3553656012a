"""What a database's failure means to the caller."""

from __future__ import annotations

import errno
import sqlite3
from typing import Any

from ..types.errors import StoreCorrupt, StoreError, StoreFull, StoreLocked, StoreReadOnly, StoreUnreachable

_SQLITE: dict[int, type[StoreError]] = {
    sqlite3.SQLITE_BUSY: StoreLocked,
    sqlite3.SQLITE_LOCKED: StoreLocked,
    sqlite3.SQLITE_READONLY: StoreReadOnly,
    sqlite3.SQLITE_CANTOPEN: StoreReadOnly,
    sqlite3.SQLITE_PERM: StoreReadOnly,
    sqlite3.SQLITE_AUTH: StoreReadOnly,
    sqlite3.SQLITE_FULL: StoreFull,
    sqlite3.SQLITE_CORRUPT: StoreCorrupt,
    sqlite3.SQLITE_NOTADB: StoreCorrupt,
}
_POSTGRESQL: dict[str, type[StoreError]] = {  # SQLSTATE, or what it begins with
    "55P03": StoreLocked,
    "57014": StoreLocked,
    "40": StoreLocked,
    "08": StoreUnreachable,
    "53300": StoreUnreachable,
    "57P": StoreUnreachable,
    "25006": StoreReadOnly,
    "42501": StoreReadOnly,
    "53100": StoreFull,
    "XX001": StoreCorrupt,
    "XX002": StoreCorrupt,
}
_SYSTEM: dict[int, type[StoreError]] = {
    errno.EACCES: StoreReadOnly,
    errno.EPERM: StoreReadOnly,
    errno.EROFS: StoreReadOnly,
    errno.ENOSPC: StoreFull,
    errno.EDQUOT: StoreFull,
}
_SAYS: dict[type[StoreError], tuple[str, str]] = {
    StoreLocked: ("was held by another process for too long", "Try again; if it lasts, end the process that holds it."),
    StoreUnreachable: (
        "cannot be reached",
        "Check that the server runs, and the host, database, user and password of its URL; then try again.",
    ),
    StoreReadOnly: (
        "cannot be written",
        "Check the permissions of the file, of the -wal and -shm files beside it and of their folder.",
    ),
    StoreFull: ("has no room left", "Free some disk space; nothing that was acknowledged is lost."),
    StoreCorrupt: ("is damaged or is no database", "Restore it from a backup, or choose another store."),
    StoreError: ("failed", ""),
}


def fault(error: BaseException, where: str) -> StoreError:
    """The typed error for an exception of SQLAlchemy, a driver or the operating system.

    Args:
        error: The exception.
        where: The store's path or its URL without the password.
    """
    cause = getattr(error, "orig", None) or error
    kind: type[StoreError] = StoreError
    if (code := sqlite_code(cause)) is not None:
        kind = _SQLITE.get(code, StoreError)
    elif isinstance(cause, sqlite3.OperationalError):  # the driver's own: text that is no UTF-8
        kind = StoreCorrupt
    elif isinstance(cause, OSError):
        kind = _SYSTEM.get(cause.errno or 0, StoreError)
    elif hasattr(cause, "sqlstate"):
        kind = _of_postgresql(cause)
    what, hint = _SAYS[kind]
    return kind(f"The store {where} {what} ({cause}).", hint=hint)


def _of_postgresql(error: Any) -> type[StoreError]:
    state = error.sqlstate
    if state is None:  # the driver's own words: no server has answered, or none does any more
        broken = any(kind.__name__ == "OperationalError" for kind in type(error).__mro__)
        return StoreUnreachable if broken else StoreError
    return next((_POSTGRESQL[state[:n]] for n in (5, 3, 2) if state[:n] in _POSTGRESQL), StoreError)


def sqlite_code(error: BaseException) -> int | None:
    """SQLite's primary result code, or None for an error from elsewhere."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF
