"""What every store can do, and the right to write one session."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from ..types.errors import InvalidInput
from ..types.records import Record
from ..types.turns import Session

MAX_NAME = 200
"""The longest session id, agent name and model string, in characters."""


@dataclass(slots=True)
class Lease:
    """The right to write one session, for the process that acquired it.

    Attributes:
        session_id: The session.
        token: The owner's secret; a writer that shows another one is turned away.
        seq: The number of the session's last record, what it inherited counted in; 0 when it has none.
        head: The hash of that record (32 bytes); zeros when it has none.
    """

    session_id: str
    token: str = field(repr=False)
    seq: int
    head: bytes = field(repr=False)


@runtime_checkable
class Store(Protocol):
    """Sessions and their logs. May be used from several event loops and threads at once.

    Every method may raise `StoreError` in any of its kinds, and `InvalidInput` for a session id that is empty, longer
    than 200 characters or holds control characters.
    """

    async def create(self, session_id: str, *, agent: str = "", model: str = "") -> Session:
        """Makes a session, or returns the one of that name as it is."""
        ...

    async def get(self, session_id: str) -> Session:
        """One session.

        Raises:
            NotFound: There is none of that name.
        """
        ...

    async def sessions(self) -> list[Session]:
        """All sessions, the one that changed last first."""
        ...

    async def acquire(self, session_id: str) -> Lease:
        """Takes the right to write; from a dead owner at once where that can be known, else when its lease expires.

        Raises:
            NotFound: There is no such session.
            SessionBusy: Another writer has it.
        """
        ...

    async def append(self, lease: Lease, records: Sequence[Record], *, release: bool = False) -> None:
        """Writes records at the end of the log, all of them or none, and moves the lease forward.

        When this returns, the records survive the death of the process. A call that is cancelled writes to its end
        first: the lease says what is in the log.

        Args:
            lease: The right to write.
            records: What to write.
            release: Give the right back in the same transaction.

        Raises:
            InvalidInput: A record cannot be written as JSON and read back.
            SessionBusy: The lease was released or taken over.
        """
        ...

    async def release(self, lease: Lease) -> None:
        """Gives the right to write back, even when the caller is cancelled. A lease that is gone is no error."""
        ...

    async def read(self, session_id: str, *, after: int = 0) -> list[Record]:
        """The records numbered above `after`, in order, inherited ones included; every hash is checked.

        Raises:
            NotFound: There is no such session.
            StoreCorrupt: A record is missing, damaged or altered.
        """
        ...

    async def fork(self, session_id: str, new_id: str, *, at: str | None = None) -> Session:
        """Makes a session that shares another one's history without copying it.

        Args:
            session_id: The session to fork.
            new_id: The name of the new one.
            at: The step or turn with which the shared history ends; None shares all of it.

        Raises:
            NotFound: There is no such session, step or turn.
            InvalidInput: `new_id` is taken.
        """
        ...

    async def delete(self, session_id: str) -> None:
        """Removes a session and its records.

        Raises:
            NotFound: There is no such session.
            SessionBusy: A writer has it.
            InvalidInput: Other sessions were forked from it.
        """
        ...

    async def verify(self, session_id: str) -> int:
        """Recomputes the chain of hashes over the whole log and counts its records.

        Raises:
            NotFound: There is no such session.
            StoreCorrupt: Names the first record that is missing, damaged or altered.
        """
        ...

    async def aclose(self) -> None:
        """Releases every lease and frees files, connections and threads. A second call does nothing."""
        ...


def check_name(what: str, name: str, *, empty: bool = False) -> str:
    """Returns a name that can be stored and shown on one line.

    Raises:
        InvalidInput: It is no text, empty (unless `empty`), longer than 200 characters, or holds control characters.
    """
    what = f"An {what}" if what[0] in "aeio" else f"A {what}"
    if not isinstance(name, str):
        raise InvalidInput(f"{what} is text, not {type(name).__name__}.")
    if not name.strip() and not (empty and not name):
        raise InvalidInput(f"{what} must not be empty.")
    if len(name) > MAX_NAME:
        raise InvalidInput(f"{what} has at most {MAX_NAME} characters, not {len(name)}.")
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in name):
        raise InvalidInput(f"{what} must not hold control characters: {name!r}.")
    return name
