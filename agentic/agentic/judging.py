"""Asking one shield: whatever it does, there is a verdict that can be recorded."""

from __future__ import annotations

import asyncio
import copy
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from .protocols import Shield
from .types.content import Text, storable
from .types.errors import describe
from .types.messages import AssistantMessage, Message
from .types.serialise import from_json, to_json
from .types.steps import Verdict

PATIENCE = 120.0
"""Seconds that one shield may take for one verdict, if it sets no limit of its own."""


async def ask(shield: Shield, messages: Sequence[Message]) -> Verdict:
    """What a shield says of the last message, whatever it does: every answer can be recorded.

    Raises:
        CancelledError: Whoever asked was cancelled.
    """
    started = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE) as patience:
            verdict = await shield.check(_apart(messages))
        wrong = not isinstance(verdict, Verdict)
        verdict = _failed(shield, "Its answer is no Verdict.") if wrong else _storable(verdict)
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) and task.cancelling():
            raise
        verdict = _failed(shield, "The shield cancelled itself.")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise  # somebody pressed Ctrl-C
        text = f"No verdict within {PATIENCE:g} s." if patience.expired() else storable(describe(error))
        verdict = _failed(shield, text)
    latency = verdict.latency or time.monotonic() - started
    return replace(verdict, shield_id=shield.shield_id, latency=latency)


def _failed(shield: Shield, error: str) -> Verdict:
    return Verdict.failed(shield.shield_id, error, getattr(shield, "on_error", "block"))


def _apart(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages with arguments of their own: a shield that changes what it is shown changes no call."""
    last = messages[-1]
    if not isinstance(last, AssistantMessage) or not last.tool_calls:
        return messages
    calls = tuple(replace(call, arguments=copy.deepcopy(dict(call.arguments))) for call in last.tool_calls)
    return (*messages[:-1], replace(last, tool_calls=calls))


def _storable(verdict: Verdict) -> Verdict:
    """A verdict that the log can hold, whatever a shield put into it.

    Raises:
        ValueError: It holds something that the log could not be read with.
    """
    violation, content = verdict.violation, verdict.replacement
    if violation is not None:
        message, metadata = storable(violation.user_message), storable(violation.metadata)
        violation = replace(violation, user_message=message, metadata=metadata)
    if content is not None and not isinstance(content, str):
        content = tuple(Text(storable(part.text)) if isinstance(part, Text) else part for part in content)
    clean = replace(
        verdict,
        violation=violation,
        raw=storable(verdict.raw),
        prompt=storable(verdict.prompt),
        error=storable(verdict.error),
        replacement=storable(content) if isinstance(content, str) else content,
        masked=storable(verdict.masked),
    )
    readable: Verdict = from_json(Verdict, to_json(clean, Verdict))
    return readable
