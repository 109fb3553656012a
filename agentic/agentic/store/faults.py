"""What a database's failure means to the caller."""

from __future__ import annotations

import errno
import sqlite3

from ..types.errors import StoreCorrupt, StoreError, StoreFull, StoreLocked, StoreReadOnly

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
_POSTGRESQL: dict[str, type[StoreError]] = {  # SQLSTATE, or its first two characters
    "55P03": StoreLocked,
    "57014": StoreLocked,
    "40": StoreLocked,
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
    elif state := getattr(cause, "sqlstate", None):
        kind = _POSTGRESQL.get(state) or _POSTGRESQL.get(state[:2], StoreError)
    what, hint = _SAYS[kind]
    return kind(f"The store {where} {what} ({cause}).", hint=hint)


def sqlite_code(error: BaseException) -> int | None:
    """SQLite's primary result code, or None for an error from elsewhere."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF
