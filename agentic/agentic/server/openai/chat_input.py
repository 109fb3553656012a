"""A chat request in OpenAI's words as the engine's: messages, tools, sampling, the answer's form."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from ...answers import messages_of
from ...types.content import Content, Image, Part, Text, storable, text_of
from ...types.errors import InvalidInput
from ...types.messages import AssistantMessage, Message, SystemMessage, UserMessage
from ...types.sampling import SamplingParams
from ...types.tools import ToolCall, ToolChoice, ToolDef, ToolResponse

GetFile = Callable[[str], Awaitable[tuple[str, bytes]]]
"""Finds an uploaded file by its id: its name and its bytes."""

_NAME = 128


async def read_messages(given: Sequence[Any], get_file: GetFile) -> tuple[Message, ...]:
    """The messages of a conversation, each call's results in the calls' order behind it.

    Raises:
        InvalidInput: One cannot be read, or a call has no result.
    """
    messages: list[Message] = []
    names: dict[str, str] = {}
    for number, item in enumerate(given):
        where = f"messages[{number}]"
        if not isinstance(item, Mapping):
            raise InvalidInput(f"{where} must be an object.")
        match item.get("role"):
            case "system" | "developer":
                messages.append(SystemMessage(text_of(await read_content(item.get("content"), where, get_file))))
            case "user":
                messages.append(UserMessage(await read_content(item.get("content"), where, get_file)))
            case "assistant":
                message = await _assistant(item, where, get_file)
                names |= {call.call_id: call.name for call in message.tool_calls}
                messages.append(message)
            case "tool":
                call_id = text_at(item, "tool_call_id", where)
                content = await read_content(item.get("content"), where, get_file)
                messages.append(ToolResponse(call_id, names.get(call_id, ""), content))
            case role:
                raise InvalidInput(f"{where}.role must be system, developer, user, assistant or tool, not {role!r}.")
    return ordered(messages)


def ordered(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Messages with one system message at the head, and results in the order of their calls.

    Raises:
        InvalidInput: There are none, or a call has no result.
    """
    head: list[str] = []
    rest: list[Message] = []
    run: dict[str, ToolResponse] = {}
    order: list[str] = []
    for message in [*messages, None]:
        if isinstance(message, ToolResponse) and message.call_id in order and message.call_id not in run:
            run[message.call_id] = message
            continue
        rest += [run[call_id] for call_id in order if call_id in run]
        run, order = {}, []
        if isinstance(message, SystemMessage) and not rest:
            head.append(message.text)
        elif message is not None:
            rest.append(message)
            order = [call.call_id for call in getattr(message, "tool_calls", ())]
    if not rest and not head:
        raise InvalidInput("messages, or a response's input, must hold at least one message.")
    return messages_of([*([SystemMessage("\n\n".join(head))] if head else []), *rest], ())


async def read_content(given: Any, where: str, get_file: GetFile) -> Content:
    """Content in the words of chat completions (`text`, `image_url`) or of responses (`input_text`, `input_image`).

    Raises:
        InvalidInput: A part is neither text, an image nor a file of text or an image.
    """
    if given is None:
        return ""
    if isinstance(given, str):
        return storable(given)  # type: ignore[no-any-return]
    if not isinstance(given, list):
        raise InvalidInput(f"{where}.content must be text or a list of parts.")
    parts = [await _part(part, f"{where}.content[{number}]", get_file) for number, part in enumerate(given)]
    only_text = [part.text for part in parts if isinstance(part, Text)]
    return "".join(only_text) if len(only_text) == len(parts) else tuple(parts)


async def _part(part: Any, where: str, get_file: GetFile) -> Part:
    if not isinstance(part, Mapping):
        raise InvalidInput(f"{where} must be an object.")
    match part.get("type"):
        case "text" | "input_text" | "output_text" | "summary_text":
            return Text(text_at(part, "text", where))
        case "refusal":
            return Text(text_at(part, "refusal", where))
        case "image_url":
            inner = part.get("image_url")
            return image_at(inner if isinstance(inner, str) else text_at(inner, "url", f"{where}.image_url"))
        case "input_image" if part.get("file_id"):
            _, data = await get_file(text_at(part, "file_id", where))
            return Image(data)
        case "input_image":
            return image_at(text_at(part, "image_url", where))
        case "file" | "input_file":
            inner = part.get("file") if part.get("type") == "file" else part
            return await _file(inner, where, get_file)
        case kind:
            raise InvalidInput(f"{where}: parts of type {kind!r} are not supported; text, images and files are.")


async def _file(given: Any, where: str, get_file: GetFile) -> Part:
    """A file as a model can read it: an image, or text under the file's name."""
    from .files import data_of_url

    if not isinstance(given, Mapping):
        raise InvalidInput(f"{where}.file must be an object.")
    if given.get("file_id"):
        name, data = await get_file(text_at(given, "file_id", where))
    elif given.get("file_data"):
        name, data = str(given.get("filename") or "file"), data_of_url(text_at(given, "file_data", where))
    else:
        raise InvalidInput(f"{where} needs file_id or file_data.")
    try:
        return Text(f"{storable(name)}:\n{data.decode()}\n")
    except UnicodeDecodeError:
        pass
    try:
        return Image(data)
    except InvalidInput:
        raise InvalidInput(f"{where}: {storable(name)!r} is neither UTF-8 text nor an image.") from None


def image_at(url: str) -> Image:
    """The image at a URL that a client names; never a path, which would be one of this machine.

    Raises:
        InvalidInput: It is no http(s) or data URL.
    """
    if not url.lower().startswith(("http://", "https://", "data:")):
        raise InvalidInput("An image's URL begins with https://, http:// or data:.")
    return Image.of(url)


async def _assistant(item: Mapping[str, Any], where: str, get_file: GetFile) -> AssistantMessage:
    calls = []
    given = item.get("tool_calls") or ()
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise InvalidInput(f"{where}.tool_calls must be a list.")
    for number, call in enumerate(given):
        there = f"{where}.tool_calls[{number}]"
        function = call.get("function") if isinstance(call, Mapping) else None
        calls.append(read_call(call, function, text_at(call, "id", there), there))
    text = text_of(await read_content(item.get("content") or item.get("refusal"), where, get_file))
    return AssistantMessage(text, tuple(calls))


def read_call(_item: Any, function: Any, call_id: str, where: str) -> ToolCall:
    """A call that a model made before, from its name and its arguments' JSON text."""
    name, raw = text_at(function, "name", where), text_at(function, "arguments", where)
    try:
        arguments = json.loads(raw or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        return ToolCall(name, {}, call_id, raw=raw, error="Its arguments were no JSON object.")
    return ToolCall(name, storable(arguments), call_id, raw=raw)


def read_tools(given: Iterable[Any]) -> tuple[ToolDef, ...]:
    """Function tools, in the words of chat completions (`{"function": {…}}`) or of responses.

    Raises:
        InvalidInput: One is no function, has no name, or a schema that is no object's.
    """
    tools: dict[str, ToolDef] = {}
    for number, item in enumerate(given):
        where = f"tools[{number}]"
        if not isinstance(item, Mapping) or item.get("type") != "function":
            raise InvalidInput(f"{where}: only tools of type function can be used here.")
        function = item.get("function", item)
        name = text_at(function, "name", where)
        if not 0 < len(name) <= _NAME or not name.replace("-", "_").replace(".", "_").isidentifier():
            raise InvalidInput(f"{where}.name must be letters, digits, '_', '-' and '.', not {name!r}.")
        if name in tools:
            raise InvalidInput(f"{where}: there are two tools called {name!r}.")
        parameters = function.get("parameters") or {"type": "object", "properties": {}}
        if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
            raise InvalidInput(f"{where}.parameters must be a JSON schema of type object.")
        tools[name] = ToolDef(name, storable(str(function.get("description") or "")), storable(dict(parameters)))
    return tuple(tools.values())


def read_choice(given: Any, names: Sequence[str]) -> ToolChoice:
    """What `tool_choice` says: `auto`, `required`, `none`, or the name of a tool.

    Raises:
        InvalidInput: It is none of these, or names another tool.
    """
    if given is None or given in ("auto", "none"):
        return given or "auto"
    if given == "required":
        if not names:
            raise InvalidInput("tool_choice is required, but there are no tools.")
        return "required"
    if not isinstance(given, Mapping):
        raise InvalidInput(f"tool_choice must be auto, none, required or name a tool, not {given!r}.")
    if given.get("type") == "allowed_tools":
        inner = given.get("allowed_tools", given)
        return read_choice(inner.get("mode", "auto") if isinstance(inner, Mapping) else None, names)
    function = given.get("function", given)
    name = function.get("name") if isinstance(function, Mapping) else None
    if name not in names:
        raise InvalidInput(f"tool_choice names {name!r}, which is none of the tools.")
    return str(name)


def read_format(given: Any) -> Mapping[str, Any] | None:
    """The JSON schema that `response_format` or `text.format` asks for, or None for text.

    Raises:
        InvalidInput: It cannot be read.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise InvalidInput("response_format must be an object.")
    match given.get("type"):
        case "text":
            return None
        case "json_object":
            return {"type": "object"}
        case "json_schema":
            inner = given.get("json_schema", given)
            schema = inner.get("schema") if isinstance(inner, Mapping) else None
            if not isinstance(schema, Mapping):
                raise InvalidInput("response_format of type json_schema needs a schema.")
            return storable(dict(schema))  # type: ignore[no-any-return]
        case kind:
            raise InvalidInput(f"response_format.type must be text, json_object or json_schema, not {kind!r}.")


def sampling_of(
    *,
    temperature: float | None,
    top_p: float | None,
    max_tokens: int | None,
    stop: str | Sequence[str] | None = None,
    seed: int | None = None,
) -> SamplingParams:
    """How tokens are drawn; without a word about it the likeliest is taken."""
    strategy: Literal["greedy", "top_p"] = "top_p"
    if temperature == 0 or (temperature is None and top_p is None):
        strategy = "greedy"
    return SamplingParams(
        strategy=strategy,
        temperature=temperature or 1.0,
        top_p=1.0 if top_p is None else top_p,
        max_tokens=max_tokens,
        stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
        seed=seed,
    )


def text_at(given: Any, key: str, where: str) -> str:
    """The text under a key.

    Raises:
        InvalidInput: There is none.
    """
    value = given.get(key) if isinstance(given, Mapping) else None
    if not isinstance(value, str):
        raise InvalidInput(f"{where}.{key} must be text.")
    return storable(value)  # type: ignore[no-any-return]
