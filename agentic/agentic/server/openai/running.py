"""The responses that run in this process, and those that ended last."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from ...session import Session

if TYPE_CHECKING:
    from .response_run import Run

KEPT = 128
"""How many responses' events are kept for readers that come back."""


class Running:
    """Responses by id."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Run] = OrderedDict()

    def add(self, run: Run) -> None:
        """Keeps a response's events in reach."""
        self._kept[run.response["id"]] = run
        ended = [name for name, kept in self._kept.items() if not kept.running]
        for name in ended[: max(0, len(self._kept) - KEPT)]:
            del self._kept[name]

    def find(self, response_id: str) -> Run | None:
        """A response whose events are still known here."""
        return self._kept.get(response_id)

    def session(self, session_id: str) -> Session | None:
        """The session of that name as the last response in it left it: what it has read need not be read again."""
        sessions = (run.session for run in reversed(self._kept.values()) if run.documents is not None)
        return next((session for session in sessions if session.session_id == session_id), None)

    def drop(self, response_id: str) -> None:
        """Forgets a response."""
        self._kept.pop(response_id, None)
