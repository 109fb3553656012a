"""What a turn does, as a response's output items and as the events that show them growing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...types.content import images_of, storable
from ...types.events import (
    Event,
    StepCompleted,
    TextDelta,
    ToolCallCompleted,
    ToolCallStarted,
    TurnCompleted,
    TurnPaused,
)
from ...types.steps import InferenceStep, Step, ToolExecutionStep
from ...types.tools import ToolCall, ToolResponse, ToolStatus
from ...types.turns import PendingCall, Turn
from .chat import arguments_of

Emit = Callable[..., None]
"""Sends an event: its type, and its fields by name."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a tool is to the API.

    Attributes:
        item: The type of its calls' items.
        label: The MCP server, for `mcp_call`.
        name: The tool's name there.
    """

    item: Literal["function_call", "web_search_call", "file_search_call", "code_interpreter_call", "mcp_call"]
    label: str = ""
    name: str = ""


KNOWN = {
    "brave_search": Kind("web_search_call"),
    "web_search": Kind("web_search_call"),
    "knowledge_search": Kind("file_search_call"),
    "code_interpreter": Kind("code_interpreter_call"),
}
"""The built-in tools by the names under which they are called."""

_PREFIX = {"web_search_call": "ws_", "file_search_call": "fs_", "code_interpreter_call": "ci_", "mcp_call": "mcp_"}
_BUSY = {
    "web_search_call": ("in_progress", "searching"),
    "file_search_call": ("in_progress", "searching"),
    "code_interpreter_call": ("in_progress",),
    "mcp_call": ("in_progress",),
}


@dataclass(slots=True)
class Output:
    """Collects a response's items from the engine's events, and sends the events that show them.

    Attributes:
        emit: Sends an event.
        kinds: What each tool is, by name.
        include: What the client wants to see besides.
        items: The items so far.
    """

    emit: Emit
    kinds: Mapping[str, Kind]
    include: frozenset[str] = frozenset()
    items: list[dict[str, Any]] = field(default_factory=list)
    _text: list[str] | None = None
    _open: dict[str, tuple[int, ToolCall]] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """Takes in the next event of the turn."""
        match event:
            case TextDelta(text=text, step_id=step_id) if text:
                self._write(storable(text), step_id)
            case StepCompleted(step=InferenceStep() as step):
                self._end_text(step)
            case ToolCallStarted(call=call):
                self._begin_call(call)
            case ToolCallCompleted(response=response):
                self._end_call(response)
            case TurnPaused(turn=turn):
                for pending in turn.pending:
                    self._ask(pending)
            case TurnCompleted(turn=turn):
                self.close()
                if turn.violation is not None:
                    self._refuse(turn)

    def close(self) -> None:
        """Marks what was begun and will not be finished."""
        self._close_text("incomplete")
        for index, _ in self._open.values():
            self._done(index, {**self.items[index], "status": "incomplete"})
        self._open.clear()

    def list_tools(self, label: str, tools: list[dict[str, Any]]) -> None:
        """Shows what an MCP server offers."""
        item = {"id": f"mcpl_{label}", "type": "mcp_list_tools", "server_label": label, "tools": []}
        index = self._add(item)
        for phase in ("in_progress", "completed"):
            self.emit(f"response.mcp_list_tools.{phase}", item_id=item["id"], output_index=index)
        self._done(index, {**item, "tools": tools})

    # -- text ---------------------------------------------------------------------------------------------------------

    def _write(self, text: str, step_id: str) -> None:
        if self._text is None:
            self._text = []
            index = self._add(message_item(step_id, None, "in_progress"))
            self._part("added", index, "output_text", "")
        self._text.append(text)
        self.emit("response.output_text.delta", **self._place(), delta=text, logprobs=[])

    def _end_text(self, step: InferenceStep) -> None:
        message = step.message
        if message is not None and message.content:
            if self._text is None:
                self._write(message.content, step.step_id)
            self._close_text("completed")
        elif self._text is not None:
            self._close_text("incomplete")

    def _close_text(self, status: str) -> None:
        if self._text is None:
            return
        text, self._text = "".join(self._text), None
        index = len(self.items) - 1
        self.emit("response.output_text.done", **self._place(), text=text, logprobs=[])
        self._part("done", index, "output_text", text)
        self._done(index, {**self.items[index], "status": status, "content": [_part_of("output_text", text)]})

    def _refuse(self, turn: Turn) -> None:
        text = turn.violation.user_message if turn.violation else ""
        index = self._add(message_item(f"{turn.turn_id}r", None, "in_progress"))
        self._part("added", index, "refusal", "")
        self.emit("response.refusal.delta", **self._place(), delta=text)
        self.emit("response.refusal.done", **self._place(), refusal=text)
        self._part("done", index, "refusal", text)
        self._done(index, {**self.items[index], "status": "completed", "content": [_part_of("refusal", text)]})

    def _place(self) -> dict[str, Any]:
        return {"item_id": self.items[-1]["id"], "output_index": len(self.items) - 1, "content_index": 0}

    def _part(self, phase: str, index: int, kind: str, text: str) -> None:
        place = {"item_id": self.items[index]["id"], "output_index": index, "content_index": 0}
        self.emit(f"response.content_part.{phase}", **place, part=_part_of(kind, text))

    # -- calls --------------------------------------------------------------------------------------------------------

    def _begin_call(self, call: ToolCall) -> None:
        kind = self.kinds.get(call.name)
        if kind is None or kind.item == "function_call":
            return
        item = call_item(call, None, kind, self.include)
        index = self._add(item)
        self._open[call.call_id] = (index, call)
        for phase in _BUSY[kind.item]:
            self.emit(f"response.{kind.item}.{phase}", item_id=item["id"], output_index=index)
        place = {"item_id": item["id"], "output_index": index}
        if kind.item == "code_interpreter_call":
            self.emit("response.code_interpreter_call_code.delta", **place, delta=item["code"])
            self.emit("response.code_interpreter_call_code.done", **place, code=item["code"])
            self.emit("response.code_interpreter_call.interpreting", **place)
        elif kind.item == "mcp_call":
            self.emit("response.mcp_call_arguments.delta", **place, delta=item["arguments"])
            self.emit("response.mcp_call_arguments.done", **place, arguments=item["arguments"])

    def _end_call(self, response: ToolResponse) -> None:
        if response.call_id not in self._open:
            return  # a function's result, which the client has sent; or a call that could not be run
        index, call = self._open.pop(response.call_id)
        kind = self.kinds[call.name]
        item = call_item(call, response, kind, self.include)
        ended = "failed" if kind.item == "mcp_call" and item["status"] == "failed" else "completed"
        self.emit(f"response.{kind.item}.{ended}", item_id=item["id"], output_index=index)
        self._done(index, item)

    def _ask(self, pending: PendingCall) -> None:
        call = pending.call
        if pending.why == "approval":
            item = approval_item(call, self.kinds.get(call.name))
            self._done(self._add(item), item)
            return
        item = function_item(call)
        index = self._add({**item, "arguments": "", "status": "in_progress"})
        place = {"item_id": item["id"], "output_index": index}
        self.emit("response.function_call_arguments.delta", **place, delta=item["arguments"])
        self.emit("response.function_call_arguments.done", **place, arguments=item["arguments"], name=call.name)
        self._done(index, item)

    def _add(self, item: dict[str, Any]) -> int:
        self.items.append(item)
        self.emit("response.output_item.added", output_index=len(self.items) - 1, item=item)
        return len(self.items) - 1

    def _done(self, index: int, item: dict[str, Any]) -> None:
        self.items[index] = item
        self.emit("response.output_item.done", output_index=index, item=item)


def items_of(step: Step, kinds: Mapping[str, Kind]) -> list[dict[str, Any]]:
    """The items that a step of a stored turn left, results of functions included."""
    match step:
        case InferenceStep() if step.message and step.message.content:
            return [message_item(step.step_id, step.message.content, "completed")]
        case ToolExecutionStep():
            responses = {response.call_id: response for response in step.tool_responses}
            found: list[dict[str, Any]] = []
            for call in step.tool_calls:
                kind, response = kinds.get(call.name), responses.get(call.call_id)
                if kind is not None and kind.item != "function_call":
                    found.append(call_item(call, response, kind, frozenset()))
                    continue
                found.append(function_item(call))
                if response is not None:
                    found.append(function_output(response))
            return found
    return []


def message_item(step_id: str, text: str | None, status: str) -> dict[str, Any]:
    """An assistant's message; `text` is None while there is none."""
    content = [] if text is None else [_part_of("output_text", text)]
    item_id = f"msg_{step_id.replace('-', '')}"
    return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": content}


def function_item(call: ToolCall) -> dict[str, Any]:
    """A call of a function that the client runs."""
    return {
        "id": f"fc_{call.call_id.removeprefix('call_')}",
        "type": "function_call",
        "call_id": call.call_id,
        "name": call.name,
        "arguments": arguments_of(call),
        "status": "completed",
    }


def function_output(response: ToolResponse) -> dict[str, Any]:
    """What the client answered to a call."""
    return {
        "id": f"fco_{response.call_id.removeprefix('call_')}",
        "type": "function_call_output",
        "call_id": response.call_id,
        "output": response.text,
        "status": "completed",
    }


def approval_item(call: ToolCall, kind: Kind | None) -> dict[str, Any]:
    """A call that waits for the client's approval."""
    return {
        "id": f"mcpr_{call.call_id}",
        "type": "mcp_approval_request",
        "server_label": kind.label if kind else "",
        "name": kind.name if kind else call.name,
        "arguments": arguments_of(call),
    }


def call_item(call: ToolCall, response: ToolResponse | None, kind: Kind, include: frozenset[str]) -> dict[str, Any]:
    """A call that the server carries out; `response` is None while it runs."""
    failed = response is not None and response.status is not ToolStatus.OK
    status = "in_progress" if response is None else "failed" if failed else "completed"
    item: dict[str, Any] = {"id": _PREFIX[kind.item] + call.call_id, "type": kind.item, "status": status}
    query = str(call.arguments.get("query", ""))
    match kind.item:
        case "web_search_call":
            item["action"] = {"type": "search", "query": query}
            if "web_search_call.action.sources" in include and response is not None:
                sources = response.metadata.get("sources") or ()
                item["action"]["sources"] = [{"type": "url", "url": str(one.get("url", ""))} for one in sources]
        case "file_search_call":
            item |= {"queries": [query], "results": None}
            if "file_search_call.results" in include and response is not None:
                item["results"] = _results(response)
        case "code_interpreter_call":
            item |= {"code": str(call.arguments.get("code", "")), "container_id": "cntr_session", "outputs": None}
            if "code_interpreter_call.outputs" in include and response is not None:
                images = [{"type": "image", "url": image.data_url} for image in images_of(response.content)]
                item["outputs"] = [{"type": "logs", "logs": response.text}, *images]
        case "mcp_call":
            item |= {"server_label": kind.label, "name": kind.name, "arguments": arguments_of(call)}
            text = None if response is None else response.text
            item |= {"output": None if failed else text, "error": _mcp_error(text) if failed else None}
    return item


def _mcp_error(text: str | None) -> dict[str, Any]:
    return {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": text or ""}]}


def _results(response: ToolResponse) -> list[dict[str, Any]]:
    """The chunks that a search of memory banks found."""
    columns = [response.metadata.get(name) or () for name in ("document_ids", "chunks", "scores")]
    return [
        {"file_id": str(document), "filename": str(document), "text": str(text), "score": score, "attributes": {}}
        for document, text, score in zip(*columns, strict=False)
    ]


def _part_of(kind: str, text: str) -> dict[str, Any]:
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
