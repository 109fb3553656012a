"""`constrained`: every reply is forced, by a JSON schema, to be either a call of one of the tools or an answer.

Works with any provider that honours `response_format`. One call a reply: a model that wants two makes them one after
the other. The answer's text is shown as it is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, cast

from ...protocols import Delta, Inference, Prepared
from ...types.messages import AssistantMessage, Message, StopReason, SystemMessage, UserMessage
from ...types.sampling import Completion, InferenceRequest, Usage
from ...types.tools import ToolCall, ToolDef, ToolResponse
from ..local_chat import DEFAULT_SYSTEM, plain
from .examples import EXAMPLES, examples_of, invented
from .schema import NO_TOOL, call_schema, defaults, optional_arguments

_RULES = """You answer with the help of these tools:
{tools}

Reply with one JSON object and nothing else.
- When the user wants something that a tool does: {{"tool": "its name", "arguments": {{...}}}}. Take the values from the
  user's words; an argument that the user does not mention has its default, or null. Never do a tool's work yourself.
{otherwise}
A few examples come first; the conversation begins after them."""
_OTHERWISE = """- When no tool fits (small talk, general knowledge, writing, advice), or when a tool's result is there:
  {"tool": "none", "answer": "your words to the user"}
"""
_PLAIN_TALK = (
    ("Hello!", "Hello! What can I do for you?"),
    ("Who wrote the Iliad?", "The Iliad is ascribed to Homer."),
    ("How do magnets work?", "Tiny currents inside the metal line up and pull or push together."),
    ("What is the largest ocean?", "The largest ocean is the Pacific."),
    ("When did the Berlin Wall fall?", "It fell on 9 November 1989."),
    ("Give me a name for a dog.", "How about Biscuit?"),
)


class Constrained:
    """An `Inference` that forces another one's replies into calls and answers."""

    def __init__(self, inner: Inference) -> None:
        self.inner = inner

    @property
    def model(self) -> str:
        """The inner model's string."""
        return self.inner.model

    async def prepare(self, request: InferenceRequest) -> Prepared:
        """Describes the tools and the form of a reply; without tools the request passes through."""
        tools = _offered(request)
        if not tools:
            inner = await self.inner.prepare(replace(request, tools=()))
            return replace(inner, request=request, payload=_Plan(inner, {}))
        answer = (request.response_format or {"type": "string"}) if request.tool_choice == "auto" else None
        inner = await self.inner.prepare(
            replace(
                request,
                messages=_told(request.messages, tools, may_answer=answer is not None),
                tools=(),
                tool_choice="auto",
                response_format=call_schema(tools, answer, _said(request.messages)),
            )
        )
        plan = _Plan(inner, {tool.name: optional_arguments(tool) for tool in tools})
        return replace(inner, request=request, payload=plan)

    async def generate(self, prepared: Prepared) -> AsyncIterator[Delta]:
        """Generates a call or an answer."""
        plan: _Plan = prepared.payload
        stream = cast(Any, self.inner.generate(plan.inner))
        if not plan.tools:
            async with aclosing(stream) as deltas:
                async for delta in deltas:
                    yield delta
            return
        reply = ReplyReader()
        written = Completion(AssistantMessage(), Usage())
        async with aclosing(stream) as deltas:
            async for delta in deltas:
                match delta:
                    case str():
                        if text := reply.feed(delta):
                            yield text
                    case Completion():
                        written = delta
        rest, message = reply.finish(plan.tools, written.message.stop_reason)
        if rest:
            yield rest
        yield Completion(message, written.usage, written.raw if written.raw is not None else reply.text)

    async def aclose(self) -> None:
        """Closes the inner provider."""
        await self.inner.aclose()


@dataclass(frozen=True, slots=True)
class _Plan:
    inner: Prepared
    tools: Mapping[str, Sequence[str]]


def _offered(request: InferenceRequest) -> list[ToolDef]:
    if request.tool_choice in ("auto", "required", "none"):
        return [] if request.tool_choice == "none" else list(request.tools)
    return [tool for tool in request.tools if tool.name == request.tool_choice]


def _said(messages: Sequence[Message]) -> str:
    return "\n".join(message.text for message in messages if isinstance(message, UserMessage))


def _told(messages: Sequence[Message], tools: Sequence[ToolDef], *, may_answer: bool) -> list[Message]:
    """The conversation in plain messages, the tools described at its beginning."""
    lines = [f"- {tool.name}: {tool.description} Arguments: {json.dumps(plain(tool.parameters))}" for tool in tools]
    rules = _RULES.format(tools="\n".join(lines), otherwise=_OTHERWISE if may_answer else "")
    rest = list(messages)
    system = rest.pop(0).text if rest and isinstance(rest[0], SystemMessage) else DEFAULT_SYSTEM
    examples = _examples(tools, may_answer=may_answer)
    return [SystemMessage(f"{system}\n\n{rules}"), *examples, *(_as_written(message) for message in rest)]


def _examples(tools: Sequence[ToolDef], *, may_answer: bool) -> Iterator[Message]:
    """Those that the tools bring, one of the first tool if none does; plain talk stands between them."""
    rounds = zip_longest(*([(tool, example) for example in examples_of(tool)[:EXAMPLES]] for tool in tools))
    own = [shown for turn in rounds for shown in turn if shown is not None]
    talk = list(_PLAIN_TALK) if may_answer else []
    every = max(1, len(own) // max(1, len(talk)))
    for number, (tool, example) in enumerate(own or [(tools[0], invented(tools[0])[0])]):
        yield UserMessage(example.user)
        yield AssistantMessage(_call_text(tool.name, defaults(tool) | dict(example.arguments)))
        if talk and number % every == 0:
            said, answer = talk.pop(0)
            yield UserMessage(said)
            yield AssistantMessage(_answer_text(answer))
    for said, answer in talk:
        yield UserMessage(said)
        yield AssistantMessage(_answer_text(answer))


def _call_text(name: str, arguments: Mapping[str, Any]) -> str:
    return json.dumps({"tool": name, "arguments": plain(arguments)}, ensure_ascii=False)


def _answer_text(answer: str) -> str:
    return json.dumps({"tool": NO_TOOL, "answer": answer}, ensure_ascii=False)


def as_said(message: Message) -> Message:
    """A result as a plain message."""
    if isinstance(message, ToolResponse):
        return UserMessage(f"Result of {message.tool_name} ({message.status}): {message.text}")
    return message


def _as_written(message: Message) -> Message:
    """The assistant's messages in the form that its replies have."""
    match message:
        case AssistantMessage(tool_calls=(_, *_)):
            return AssistantMessage("\n".join(_call_text(call.name, call.arguments) for call in message.tool_calls))
        case AssistantMessage():
            return AssistantMessage(_answer_text(message.content))
    return as_said(message)


_ANSWER_START = re.compile(rf'\s*\{{\s*"tool"\s*:\s*"{NO_TOOL}"\s*,\s*"answer"\s*:\s*"')
_CHARACTERS = re.compile(
    r'(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4}'
    r"|\\u(?![dD][89abAB])[0-9a-fA-F]{4})*"
)


class ReplyReader:
    """Reads a forced reply: the answer's words as they come, a call at the end.

    Attributes:
        text: The reply as it was written so far.
    """

    def __init__(self) -> None:
        self.text = ""
        self._at = -1
        self._answer = ""

    def feed(self, piece: str) -> str:
        """Takes the next piece; returns what it adds to the answer."""
        self.text += piece
        if self._at < 0:
            if (start := _ANSWER_START.match(self.text)) is None:
                return ""
            self._at = start.end()
        found = _CHARACTERS.match(self.text, self._at)
        assert found is not None  # noqa: S101 - the pattern matches nothing, too
        self._at = found.end()
        fresh: str = json.loads(f'"{found[0]}"')
        self._answer += fresh
        return fresh

    def finish(self, tools: Mapping[str, Sequence[str]], stop: StopReason) -> tuple[str, AssistantMessage]:
        """Ends the reply.

        Args:
            tools: The optional arguments of each tool, by the tool's name; null in their place is no value.
            stop: Why the model stopped.

        Returns:
            The text not handed out yet, and the message.
        """
        try:
            reply = json.loads(self.text)
        except (ValueError, RecursionError):
            return self._broken(stop)
        if isinstance(reply, dict) and isinstance(reply.get("tool"), str) and isinstance(reply.get("arguments"), dict):
            name: str = reply["tool"]
            optional = tools.get(name, ())
            arguments = {
                key: item for key, item in reply["arguments"].items() if item is not None or key not in optional
            }
            call = ToolCall(name, arguments, known=name in tools, raw=self.text)
            return "", AssistantMessage(tool_calls=(call,), stop_reason=StopReason.END_OF_MESSAGE)
        answer = reply.get("answer", reply) if isinstance(reply, dict) else reply
        whole = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        if not whole.startswith(self._answer):
            whole = self._answer  # a repeated key: what was shown stays said
        return whole[len(self._answer) :], AssistantMessage(whole, stop_reason=stop)

    def _broken(self, stop: StopReason) -> tuple[str, AssistantMessage]:
        if self._at >= 0:
            return "", AssistantMessage(self._answer, stop_reason=stop)
        if stop is StopReason.OUT_OF_TOKENS and self.text.lstrip().startswith("{"):
            call = ToolCall("", known=False, raw=self.text, error="The call was cut off before it was complete.")
            return "", AssistantMessage(tool_calls=(call,), stop_reason=stop)
        note = "The reply is not the JSON that was asked for; it is taken as text."
        return self.text, AssistantMessage(self.text, stop_reason=stop, notes=(note,))
