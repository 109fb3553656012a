"""The embedded shield against prompt injection: no model, only what can be decided from the text itself.

=============  =======================================================================================
kind           what is looked for, and where
=============  =======================================================================================
hidden_text    invisible characters that hold text: everywhere
bidi_override  marks that show text in another order than it is read: everywhere
special_token  Llama's and others' special tokens: in tool results and documents
role_header    forged beginnings of messages: in tool results and documents
tool_call      calls as models write them: in tool results and documents
exfiltration   images and links that carry data away: in answers, tool results and documents
override       orders to drop all instructions: in input, tool results and documents
=============  =======================================================================================
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias, get_args

from agentic.shield import to_judge
from agentic.threads import run_in_thread
from agentic.types import (
    AssistantMessage,
    ConfigError,
    InvalidInput,
    Message,
    SafetyViolation,
    Touchpoint,
    UserMessage,
    Verdict,
)
from agentic.types.steps import OnError

from ..conversation import masked, written
from .finding import Finding
from .hidden import hidden, visible
from .links import exfiltration
from .markup import markup
from .phrases import overrides

Action: TypeAlias = Literal["block", "strip", "flag"]

LONGEST = 4_000_000
"""Characters that are looked at; what is longer is not judged, so it follows `on_error`."""

_REMOVED = "[removed]"
_UNSEEN_KINDS = ("hidden_text", "bidi_override")
_SHORT = 20_000  # characters that take less time than a thread does
_MOST_NAMED = 20


class InjectionShield:
    """Finds what has no place in a text: hidden characters, forged markup, links that carry data away, override orders.

    Args:
        action: `block` ends the turn; `strip` takes it out and goes on; `flag` only records it.
        allow_hosts: Sites that images and links may send anything to, with those below them, such as `example.org`.
        tools: Names of tools. With any, only JSON calls of these count as calls, and so does prose that asks for one.
        on_error: What becomes of a text that is too long to be judged.
        shield_id: Its id.

    Raises:
        ConfigError: An option makes no sense.
    """

    touchpoints = frozenset({Touchpoint.INPUT, Touchpoint.OUTPUT, Touchpoint.TOOL_RESULT, Touchpoint.RETRIEVAL})

    def __init__(
        self,
        action: Action = "block",
        *,
        allow_hosts: Iterable[str] = (),
        tools: Iterable[str] = (),
        on_error: OnError = "block",
        shield_id: str = "injection",
    ) -> None:
        if action not in get_args(Action):
            raise ConfigError(f"action is one of {', '.join(get_args(Action))}, not {action!r}.")
        if on_error not in get_args(OnError):
            raise ConfigError(f"on_error is one of {', '.join(get_args(OnError))}, not {on_error!r}.")
        if isinstance(allow_hosts, str) or isinstance(tools, str):
            raise ConfigError("allow_hosts and tools are lists.")
        self.shield_id = shield_id
        self.on_error: OnError = on_error
        self._action: Action = action
        self._hosts = frozenset(host.strip().lower().removeprefix("*.").strip(".") for host in allow_hosts) - {""}
        self._tools = frozenset(tools) - {""}

    def __repr__(self) -> str:
        return f"InjectionShield({self._action!r})"

    async def check(self, messages: Sequence[Message]) -> Verdict:
        """Judges the last message; its role says what may be in it. The context of a user's message is a document.

        Raises:
            InvalidInput: There is none, or it is too long.
        """
        messages = to_judge(messages)
        last = messages[-1]
        length = len(written(last))
        if length > LONGEST:
            raise InvalidInput(f"The text has {length:,} characters; at most {LONGEST:,} are judged.")
        said = _before(messages) if isinstance(last, AssistantMessage) else None
        judge = functools.partial(self._judge, last, said)
        return judge() if length + len(said or "") < _SHORT else await run_in_thread(judge, "agentic-injection")

    def find(self, text: str, role: str = "ipython", said: str | None = None) -> list[Finding]:
        """Everything found in a text, in order.

        Args:
            text: The text.
            role: Who says it: `user`, `assistant`, or `ipython` for tools and documents.
            said: The conversation before an assistant's text.
        """
        found = list(hidden(text))
        seen, where = visible(text)
        plain: list[Finding] = []
        if role == "ipython":
            plain += markup(seen, self._tools)
        if role != "user":
            plain += exfiltration(seen, self._hosts, said)
        if role != "assistant":
            plain += overrides(seen)
        found += [Finding(one.kind, where[one.start], where[one.end - 1] + 1, one.said) for one in plain]
        return sorted(found, key=lambda one: (one.start, one.end))

    def _judge(self, message: Message, said: str | None) -> Verdict:
        context = (isinstance(message, UserMessage) and message.context) or ""
        found, beside = self.find(message.text, message.role, said), self.find(context)
        if not found and not beside:
            return Verdict(self.shield_id)
        kinds = list(dict.fromkeys(one.kind for one in (*found, *beside)))
        metadata = {"violation_type": "prompt_injection", "kinds": kinds}
        blocks = self._action == "block" or (self._action == "strip" and beside)  # a verdict replaces no context
        level: Literal["error", "warn"] = "error" if blocks else "warn"
        who = {"user": "the message", "assistant": "the answer"}.get(message.role, "a tool's result or a document")
        text = f"I stopped, because {who} holds what looks like an attempt to take control ({', '.join(kinds)})."
        violation = SafetyViolation(text, metadata, level)
        replacement = None
        if self._action == "strip":
            replacement = masked(message, lambda text: _without(text, self.find(text, message.role, said)))
        rows = [*_rows(found, message.text), *_rows(beside, context)]
        raw = json.dumps({"found": len(rows), "first": rows[:_MOST_NAMED]}, ensure_ascii=False)
        return Verdict(self.shield_id, violation, raw=raw, replacement=replacement)


def shield(_: str) -> InjectionShield:
    """The entry point of `injection`."""
    return InjectionShield()


def _before(messages: Sequence[Message]) -> str:
    """The conversation before an answer, unread where that holds no address: long sessions cost no more then."""
    return "\n".join(message.text for message in messages[:-1]) if "/" in messages[-1].text else ""


def _without(text: str, found: Sequence[Finding]) -> str:
    parts, done = [], 0
    for one in found:
        if one.end > done:
            parts.append(text[done : max(done, one.start)])
            if one.kind not in _UNSEEN_KINDS:
                parts.append(_REMOVED)
            done = one.end
    return "".join([*parts, text[done:]])


def _rows(found: Sequence[Finding], text: str) -> list[dict[str, Any]]:
    return [
        {"kind": one.kind, "at": one.start, "text": (one.said or ascii(text[one.start : one.end])[1:-1])[:200]}
        for one in found
    ]
