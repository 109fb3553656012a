"""Writes a conversation as the prompt of a Llama 3.x model.

The rules, from Meta's prompt-format documents:

- A prompt is `<|begin_of_text|>`, the messages, and the header of the assistant's next message.
- A message is a header with its role, two newlines, its body, and `<|eot_id|>`; `<|eom_id|>` where the model waits for
  a tool's result. Results come back in the role `ipython`.
- Built-in tools are switched on by name in the system message; other tools are defined there (3.2 text, 3.3) or in a
  user message after it (3.1, 3.2 vision).

What stands before a message never depends on it, so a prompt of one more message begins with the prompt before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache, lru_cache
from itertools import groupby
from typing import Any, Literal, TypeAlias

from ..types.content import Content, Image, images_of, text_of
from ..types.errors import ConfigError, InvalidInput
from ..types.messages import AssistantMessage, Message, StopReason, SystemMessage, UserMessage
from ..types.tools import BUILTIN_TOOLS, ToolCall, ToolDef, ToolResponse
from .families import Family, ToolFormat
from .instructions import KNOWLEDGE_DATE, date_text, definitions, describe, tool_choice_hint
from .intake import ToolLike, message_of, tool_of
from .memo import Memo
from .meta import meta_body
from .prompt import Block, Control, Prompt, Segment
from .special import BEGIN_OF_TEXT, END_HEADER, END_OF_TEXT, EOM, EOT, IMAGE, PYTHON_TAG, START_HEADER
from .writing import builtin_call, code_of, custom_calls

MessageLike: TypeAlias = Message | Mapping[str, Any]

_BEGIN, _EOT, _EOM, _TAG, _IMAGE = map(Control, (BEGIN_OF_TEXT, EOT, EOM, PYTHON_TAG, IMAGE))
_REMEMBERED_CHARACTERS = 16_000_000
_UNSEEN_IMAGE = "\n[An image was returned here. This model reads text only.]\n"


@dataclass(frozen=True, slots=True)
class _Style:
    """Everything that a message's rendering depends on besides the message."""

    tool_format: ToolFormat
    ipython: bool
    vision: bool
    meta: bool


def encode(
    messages: Sequence[MessageLike],
    *,
    family: str = Family.LLAMA3_2,
    tools: Sequence[ToolLike] | None = (),
    tool_format: str | None = None,
    tool_choice: str | None = "auto",
    today: date | str | None = None,
    date_lines: bool | None = None,
    meta_compat: bool = False,
) -> Prompt:
    """Writes a conversation as a prompt that ends where the assistant's next message begins.

    Messages are remembered by identity: encoding a session again costs only what was added to it. Messages, tools and
    calls are therefore never changed in place; make new ones. (A plain dict may be changed.)

    Args:
        messages: In order; a system message, if any, first. Dicts with a role and a content will do.
        family: A `Family`, its name, or a model's name.
        tools: Definitions, objects that have one (`agentic.Tool(function)`), or names of built-in tools. None is none.
        tool_format: `json`, `function_tag` or `python_list`; None is the family's default.
        tool_choice: `auto` (also None), `required`, `none` (the tools are left out), or the name of the tool to call.
        today: For the date lines: a date, or text (`2025-03-05` is written as a date is). None writes the date of
            Meta's documents, never the clock's.
        date_lines: Whether the system message says the dates; None is the family's habit.
        meta_compat: Writes the messages as `llama-models` does, token for token and defects included. Without tools
            and dates the result is that of its `ChatFormat.encode_dialog_prompt`; with them the system message is laid
            out as Llama Stack's adapter does it, around our own tool instructions.

    Raises:
        ConfigError: Settings that contradict each other or the family.
        InvalidInput: A message that cannot be read.
        ToolDefinitionError: A tool that cannot be offered.
        CodecError: A call in the history that cannot be written.
    """
    if isinstance(messages, str | Mapping) or not isinstance(messages, Iterable):
        raise InvalidInput("encode takes a list of messages.")
    kind = Family.of(family)
    tool_choice = "auto" if tool_choice is None else tool_choice
    offered = _offered(() if tools is None else tools, tool_choice)
    if kind.base:
        return _base_prompt(messages, kind, offered)
    bare = meta_compat and not offered
    builtins = [tool.name for tool in offered if tool.builtin]
    style = _Style(
        tool_format=_any_format(tool_format, kind) if bare else kind.tool_format(tool_format),
        ipython=bool(offered if kind.classic else builtins),
        vision=kind.vision,
        meta=meta_compat,
    )
    dated = date_lines if date_lines is not None else kind.classic and not bare
    rest = list(messages)
    head = [Block([_BEGIN])]
    if not bare or dated:
        environment = _environment(builtins, style.ipython, date_text(today) if dated else None)
        hint = tool_choice_hint(tool_choice)
        head += _head(rest, kind, style, offered=offered, environment=environment, hint=hint)
    return Prompt((*head, *_memo(style).each(rest), Block(_header("assistant"))), stop=(EOT, EOM, END_OF_TEXT))


def code_result(status: Literal["completed", "failed"], stdout: str = "", stderr: str = "") -> str:
    """A code interpreter's result as Llama models were trained to read it."""
    parts: list[str] = [status]
    if stdout:
        parts.append(f"[stdout]{stdout}[/stdout]")
    if stderr:
        parts.append(f"[stderr]{stderr}[/stderr]")
    return "\n".join(parts)


def _offered(tools: Sequence[ToolLike], tool_choice: str) -> list[ToolDef]:
    if isinstance(tools, str | Mapping) or not isinstance(tools, Iterable):
        raise ConfigError("tools is a list of tools.")
    offered = _tools().each(tools)
    names = [tool.name for tool in offered]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"Two tools are called {twice!r}.", hint="Rename one of them.")
    if tool_choice == "none":
        return []
    if tool_choice == "required" and not offered:
        raise ConfigError("tool_choice is 'required', but there are no tools.")
    if tool_choice not in ("auto", "required", *names):
        raise ConfigError(f"tool_choice names {tool_choice!r}, which is not among the tools.")
    return offered


def _any_format(wanted: str | None, kind: Family) -> ToolFormat:
    """Where no tool is offered, Meta's reference writes history in any format for any model."""
    match wanted:
        case "json" | "function_tag" | "python_list":
            return wanted
    return kind.tool_format(wanted)


def _environment(builtins: list[str], ipython: bool, today: str | None) -> str:
    lines: list[str] = []
    if ipython:
        named = ", ".join(name for name in builtins if name != "code_interpreter")
        lines += ["Environment: ipython", f"Tools: {named}" if named else ""]
    if today is not None:
        lines += [f"Cutting Knowledge Date: {KNOWLEDGE_DATE}", f"Today Date: {today}"]
    return "\n".join(lines).rstrip("\n")


def _head(
    rest: list[MessageLike], kind: Family, style: _Style, *, offered: list[ToolDef], environment: str, hint: str
) -> Iterator[Block]:
    """The system message, which takes the caller's own into it, and the user message that defines the tools."""
    own = ""
    if rest and isinstance(first := message_of(rest[0]), SystemMessage):
        own = _text_only(first.content)
        del rest[0]
    custom = [tool for tool in offered if not tool.builtin]
    defined = definitions(_descriptions(style.tool_format).each(custom), style.tool_format) if custom else ""
    sections = [environment, "" if kind.classic else defined, own, hint]
    text = ("\n" if style.meta else "\n\n").join(filter(None, sections))
    if text or style.meta:
        yield _head_block("system", text)
    if kind.classic and defined:
        yield _head_block("user", defined)


@lru_cache(maxsize=16)
def _head_block(role: str, text: str) -> Block:
    """Remembered, as a turn after another begins alike, and many tools take long to tokenise."""
    return Block([*_header(role), text, _EOT])


def _base_prompt(messages: Sequence[MessageLike], kind: Family, offered: list[ToolDef]) -> Prompt:
    """A base model continues plain text: the contents one after another, with no headers."""
    if offered:
        raise ConfigError(f"{kind} is a base model and calls no tools.", hint="Use the instruct model's family.")
    segments: list[Segment] = [_BEGIN]
    images: list[Image] = []
    for message in map(message_of, messages):
        if not isinstance(message, UserMessage | AssistantMessage) or _calls(message):
            raise ConfigError(f"{kind} is a base model: it takes user and assistant text only.")
        segments += _said(message, kind.vision)
        images += images_of(message.content)
    return Prompt((Block(segments, tuple(images)),), stop=(END_OF_TEXT,))


@cache
def _memo(style: _Style) -> Memo[Block]:
    def make(value: object) -> tuple[Block, int]:
        message = message_of(value)
        images = () if isinstance(message, AssistantMessage) else images_of(message.content)
        block = Block(_message(message, style), images if style.vision or style.meta else ())
        return block, 100 + len(block.text) + sum(len(image.data or b"") for image in images)

    return Memo(make, _REMEMBERED_CHARACTERS)


@cache
def _tools() -> Memo[ToolDef]:
    return Memo(lambda value: (tool_of(value), 1), limit=10_000)


@cache
def _descriptions(tool_format: ToolFormat) -> Memo[str]:
    def make(value: object) -> tuple[str, int]:
        text = describe(tool_of(value), tool_format)
        return text, 100 + len(text)

    return Memo(make, _REMEMBERED_CHARACTERS // 16)


@cache
def _header(role: str) -> tuple[Segment, ...]:
    return Control(START_HEADER), role, Control(END_HEADER), "\n\n"


def _message(message: Message, style: _Style) -> Iterator[Segment]:
    if isinstance(message, AssistantMessage) and not style.meta:
        yield from _assistant(message, style)
        return
    yield from _header(message.role)
    end = _EOT
    match message:
        case AssistantMessage():
            yield from meta_body(message, style.tool_format)
            end = _EOM if message.stop_reason == StopReason.END_OF_MESSAGE else _EOT
        case _:
            yield from _said(message, style.vision or style.meta)
    yield end


def _assistant(message: AssistantMessage, style: _Style) -> Iterator[Segment]:
    """An assistant's message as the model wrote it: one message for each body that calls take."""
    bodies = list(_bodies(message.tool_calls, style)) or [(False, "")]
    for position, (tagged, body) in enumerate(bodies):
        yield from _header("assistant")
        if position == 0:
            yield message.content
        if tagged:
            yield _TAG
        yield body
        waits = tagged or position + 1 < len(bodies) or message.stop_reason == StopReason.END_OF_MESSAGE
        yield _EOM if waits else _EOT


def _bodies(calls: Sequence[ToolCall], style: _Style) -> Iterator[tuple[bool, str]]:
    """The texts that calls make, each with whether it follows a python tag.

    Code reaches to the message's end and a built-in's call stands alone, so each of them takes a message of its own;
    neighbouring calls of custom tools share one.
    """
    for builtin, group in groupby(calls, lambda call: call.name in BUILTIN_TOOLS):
        if not builtin:
            yield style.tool_format == "json" and style.ipython, custom_calls(list(group), style.tool_format)
            continue
        for call in group:
            code = code_of(call)
            yield True, builtin_call(call) if code is None else code


def _said(message: Message, vision: bool) -> Iterator[Segment]:
    """What a message says, the context of a user's message after it.

    A tool may return an image to a model that sees none; the model is told so.
    """
    if isinstance(message.content, str):
        yield message.content
    else:
        for part in message.content:
            if not isinstance(part, Image):
                yield part.text
            elif vision:
                yield _IMAGE
            elif isinstance(message, ToolResponse):
                yield _UNSEEN_IMAGE
            else:
                raise ConfigError("A message holds an image, but this family reads text.", hint="Use llama3.2-vision.")
    if isinstance(message, UserMessage) and message.context is not None:
        yield from ("\n\n", message.context)


def _calls(message: Message) -> tuple[ToolCall, ...]:
    return message.tool_calls if isinstance(message, AssistantMessage) else ()


def _text_only(content: Content) -> str:
    if images_of(content):
        raise InvalidInput("A system message holds text only, no images.")
    return text_of(content)
