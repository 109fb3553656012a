"""What every store says when it refuses, in one place and in the same words."""

from __future__ import annotations

from collections.abc import Sequence

from ..types.errors import InvalidInput, NotFound, SessionBusy, StoreError


def missing(session_id: str) -> NotFound:
    """The error for a session that does not exist."""
    return NotFound(f"There is no session {session_id!r}.")


def busy(session_id: str, owner: str = "") -> SessionBusy:
    """The error for a session that another writer has."""
    return SessionBusy(f"Session {session_id!r} is being written{owner}.", hint="Wait until that turn has ended.")


def lost(session_id: str) -> SessionBusy:
    """The error for a writer whose lease is gone."""
    return SessionBusy(
        f"Session {session_id!r} is no longer yours to write: the lease was released or taken over.",
        hint="Open the session again and continue from its log.",
    )


def taken(session_id: str) -> InvalidInput:
    """The error for a fork's name that exists."""
    return InvalidInput(f"There is already a session {session_id!r}; choose another name for the fork.")


def forked(session_id: str, forks: Sequence[str]) -> InvalidInput:
    """The error for deleting what others inherit from."""
    names = ", ".join(repr(name) for name in forks)
    return InvalidInput(f"Session {session_id!r} cannot be deleted: {names} continue its history. Delete them first.")


def closed() -> StoreError:
    """The error for a store that was closed."""
    return StoreError("The store is closed.", hint="Open it again.")
