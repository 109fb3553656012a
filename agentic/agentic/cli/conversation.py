"""A session at a terminal: plays its turns, asks for approvals, and cancels on Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ..types.errors import TurnPending
from ..types.events import Event
from ..types.turns import PendingCall, Turn, TurnStatus
from .options import Approve
from .text import visible
from .views import View, label

if TYPE_CHECKING:
    from ..session import Session


class Conversation:
    """A session and where it is shown.

    Args:
        session: The session.
        view: Where its events go.
        approve: What becomes of calls that wait for an approval.
    """

    def __init__(self, session: Session, view: View, approve: Approve) -> None:
        self.session = session
        self._view = view
        self._approve = approve

    def ask(self, question: str, images: Sequence[str] = (), files: Sequence[str] = ()) -> Turn:
        """Runs one turn to its end.

        Raises:
            TurnPending: A call waits for something that cannot be had here.
            KeyboardInterrupt: Ctrl-C; the turn has been cancelled.
        """
        return self._to_end(self.session.stream(question, images=images, files=files))

    def take_up(self) -> Turn | None:
        """Takes up the turn that waits or was cut off; None when there is none. Errors are those of `ask`."""
        if pending := self.session.pending:
            return self._to_end(self.session.resume_stream(self._decide(pending)))
        return self._to_end(self.session.resume_stream()) if self.session.interrupted else None

    def _to_end(self, events: Iterator[Event]) -> Turn:
        while (turn := self._play(events)).status is TurnStatus.AWAITING_INPUT:
            events = self.session.resume_stream(self._decide(turn.pending))
        return turn

    def _play(self, events: Iterator[Event]) -> Turn:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what a tool prints is not the answer
                for event in events:
                    self._view.show(event)
        except (KeyboardInterrupt, BrokenPipeError):
            self.session.cancel()
            raise
        finally:
            self._view.close()
        return self.session.turns[-1]

    def _decide(self, pending: Sequence[PendingCall]) -> Mapping[str, Any]:
        return {item.call.call_id: self._decision(item) for item in pending}

    def _decision(self, item: PendingCall) -> Any:
        from ..answers import Deny

        shown, name = label(item.call, 300), shlex.quote(self.session.session_id)
        if item.why == "client":
            raise TurnPending(f"{shown} waits for a result that only a program can give, with session.resume.")
        if self._approve == "all":
            return True
        if self._approve == "none":
            return Deny()
        if not sys.stdin.isatty():
            raise TurnPending(
                f"{shown} waits for your approval.",
                hint=f"Run the command again with --session {name} and without the question: at a terminal to be "
                "asked, or with --approve all or --approve none.",
            )
        arguments = json.dumps(dict(item.call.arguments), indent=2, ensure_ascii=False, default=str)
        click.echo(visible(f"{item.call.name} {arguments}"), err=True)  # whole: who approves must see what
        try:
            answer = click.prompt("Allow this call? y, n, or why not", err=True).strip()
        except click.Abort:
            raise KeyboardInterrupt from None
        return True if answer.lower() in ("y", "yes") else Deny("" if answer.lower() in ("n", "no") else answer)
