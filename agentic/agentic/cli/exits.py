"""Exit codes, and errors as a person or a program reads them."""

from __future__ import annotations

from typing import Any

import click

from ..types.errors import AgenticError, SessionBusy, StoreError, TurnPending, UsageError
from .text import cleaned

OK = 0
FAILED = 1
USAGE = 2
BUSY = 3
STORE = 4
CANCELLED = 130

TABLE = f"""\b
Exit codes:
  {OK}    it worked
  {FAILED}    the turn ended without a whole answer: the model failed, a limit was reached, a shield objected
  {USAGE}    the command, a setting or a name is wrong
  {BUSY}    the session is busy in another process, or waits for an approval
  {STORE}    the session store failed
  {CANCELLED}  Ctrl-C
"""


def code_for(error: BaseException) -> int:
    """The exit code that an error leads to."""
    match error:
        case SessionBusy() | TurnPending():
            return BUSY
        case StoreError():
            return STORE
        case UsageError():
            return USAGE
        case KeyboardInterrupt():
            return CANCELLED
        case _:
            return FAILED


def tell(error: BaseException) -> None:
    """Prints an error on stderr: what happened, and on a second line what to do."""
    lines = [error.message, error.hint] if isinstance(error, AgenticError) else [_unexpected(error)]
    if not isinstance(error, KeyboardInterrupt):
        click.secho("Error: ", nl=False, err=True, fg="red", bold=True)
    for line in filter(None, lines):
        click.echo(cleaned(line), err=True)


def as_data(error: BaseException) -> dict[str, Any]:
    """An error as the last line of a `--json` stream."""
    known = error if isinstance(error, AgenticError) else None
    return {
        "type": "error",
        "error": "Cancelled" if isinstance(error, KeyboardInterrupt) else type(error).__name__,
        "message": known.message if known else _unexpected(error),
        "hint": known.hint if known else "",
        "retryable": known.retryable if known else False,
        "step_id": known.step_id if known else None,
        "exit_code": code_for(error),
    }


def _unexpected(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "Cancelled."
    return f"{type(error).__name__}: {error} (unexpected; `agentic --debug …` shows where it comes from)"
