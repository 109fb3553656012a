"""Removing sessions that nobody has continued for long."""

from __future__ import annotations

from collections import defaultdict
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
    forks: dict[str, set[str]] = defaultdict(set)
    for one in sessions.values():
        forks[one.parent or ""].add(one.session_id)
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
        siblings = forks[session.parent or ""]
        siblings.discard(session.session_id)
        parent = sessions.get(session.parent or "")
        if parent is not None and not siblings and parent.updated_at < before:
            ready.append(parent)
    for session in old:
        if living := sorted(forks[session.session_id]):
            kept[session.session_id] = f"its history goes on in {', '.join(map(repr, living))}"
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
