"""Removing sessions that nobody has continued for long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from .store import Store
from .types.errors import InvalidInput, NotFound, SessionBusy
from .types.turns import Session


@dataclass(frozen=True, slots=True)
class Pruned:
    """What became of the sessions that are old enough.

    Attributes:
        removed: Their ids, forks before what they were forked from.
        kept: Why the others stay, by their ids.
    """

    removed: tuple[str, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)


async def prune(store: Store, before: datetime, *, dry_run: bool = False) -> Pruned:
    """Removes the sessions whose logs have not grown since a moment.

    A session that others were forked from holds a part of their history: it stays as long as one of them does.

    Args:
        store: Where they are.
        before: The moment, with its time zone.
        dry_run: Only say what would be removed.

    Raises:
        StoreError: The store failed; what had been removed before stays so.
    """
    sessions = {one.session_id: one for one in await store.sessions()}
    forks = Counter(one.parent for one in sessions.values() if one.parent)
    old = [one for one in sessions.values() if one.updated_at < before]
    ready = [one for one in old if not forks[one.session_id]]
    removed: list[str] = []
    kept: dict[str, str] = {}
    while ready:
        session = ready.pop()
        if not dry_run and (why := await _remove(store, session, before)):
            kept[session.session_id] = why
            continue
        removed.append(session.session_id)
        parent = sessions.get(session.parent or "")
        if parent is not None:
            forks[parent.session_id] -= 1
            if not forks[parent.session_id] and parent.updated_at < before:
                ready.append(parent)
    gone = set(removed)
    for session in old:
        living = [one.session_id for one in sessions.values() if one.parent == session.session_id]
        living = sorted(set(living) - gone)
        if session.session_id not in gone and living:
            kept.setdefault(session.session_id, f"{', '.join(map(repr, living))} continue its history")
    return Pruned(tuple(removed), kept)


async def _remove(store: Store, session: Session, before: datetime) -> str:
    """Removes a session; where it stays, why."""
    try:
        if (await store.get(session.session_id)).updated_at >= before:
            return "it was continued a moment ago"
        await store.delete(session.session_id)
    except NotFound:  # somebody else was faster
        return ""
    except (SessionBusy, InvalidInput) as error:
        return error.message
    return ""
