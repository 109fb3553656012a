"""`responses` and `conversations`, by the real client."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from llama_stack_client import LlamaStackClient
from openai.types.responses import Response, ResponseStreamEvent

from agentic import Tool, keys
from agentic.history import History
from agentic.prompts import PromptStore
from agentic.protocols import ToolOutput
from agentic.testing import ScriptedModel
from agentic.tool import Tool as ToolClass
from agentic.types.content import Image, Text
from agentic.types.errors import ConnectionFailed
from agentic.types.messages import AssistantMessage, StopReason
from agentic.types.steps import InferenceStep
from agentic.types.tools import ToolCall, ToolDef
from servers.base import Answer, Request, Server
from servers.mcp_events import greeting

from .conftest import Serve, on_loop

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}


def kinds(events: list[ResponseStreamEvent]) -> list[str]:
    """The events' types, a run of equal ones as one."""
    found: list[str] = []
    for event in events:
        if event.type != (found[-1] if found else ""):
            found.append(event.type)
    return found


def texts(request: Any) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in request.messages]


@pytest.mark.parametrize("prefix", ["/v1", "/v1/openai/v1"])
def test_a_question_is_answered(serve: Serve, prefix: str) -> None:
    model = ScriptedModel(["On Earth."])
    client, _ = serve(model=model, prefix=prefix)
    answer = client.responses.create(
        model="m", input="Where do humans live?", instructions="Be brief.", temperature=0, metadata={"a": "b"}
    )
    assert (answer.status, answer.output_text, answer.metadata) == ("completed", "On Earth.", {"a": "b"})
    assert texts(model.requests[0]) == [("system", "Be brief."), ("user", "Where do humans live?")]
    assert client.responses.retrieve(answer.id) == answer
    (item,) = client.responses.input_items.list(answer.id)
    assert item.type == "message"
    assert item.content[0].type == "input_text"


def test_responses_are_listed_with_what_they_were_asked(serve: Serve) -> None:
    client, running = serve("One.", "Two.")
    ids = [client.responses.create(model="m", input=text).id for text in ("First", "Second")]
    listed = httpx.get(f"{running.url}/v1/openai/v1/responses").json()
    assert ([one["id"] for one in listed["data"]], listed["has_more"]) == (ids[::-1], False)
    assert listed["data"][1]["input"][0]["content"][0]["text"] == "First"
    with LlamaStackClient(base_url=running.url) as other:
        assert [one.id for one in other.responses.list(limit=1, order="asc").data] == ids[:1]
        assert other.responses.list(model="other").data == []


def test_a_stream_has_the_documented_events_in_order(serve: Serve) -> None:
    client, _ = serve(["On ", "Earth."])
    events = list(client.responses.create(model="m", input="Where?", stream=True))
    assert kinds(events) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert last.response == client.responses.retrieve(last.response.id)


def test_the_clients_stream_helper_understands_it(serve: Serve) -> None:
    client, _ = serve(["On ", "Earth."])
    with client.responses.stream(model="m", input="Where?") as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text == "On Earth."


def test_a_response_continues_the_one_before_and_forks_from_an_older_one(serve: Serve) -> None:
    model = ScriptedModel(["One.", "Two.", "Other."])
    client, running = serve(model=model)
    first = client.responses.create(model="m", input="1", instructions="Count.")
    second = client.responses.create(model="m", input="2", previous_response_id=first.id)
    other = client.responses.create(model="m", input="3", previous_response_id=first.id)
    assert texts(model.requests[1]) == [("user", "1"), ("assistant", "One."), ("user", "2")], "no old instructions"
    assert texts(model.requests[2]) == [("user", "1"), ("assistant", "One."), ("user", "3")]
    assert second.previous_response_id == other.previous_response_id == first.id
    assert len(on_loop(running, running.server.services.store.sessions)) == 2, (
        "a continuation needs no session of its own"
    )


def test_a_continuation_reads_only_what_is_new(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client, running = serve(*["Yes."] * 12, kept=True)
    store, counts = running.server.services.store, []
    read = store.read

    async def counted(session_id: str, *, after: int = 0) -> Any:
        records = await read(session_id, after=after)
        counts.append(len(records))
        return records

    monkeypatch.setattr(store, "read", counted)
    last = client.responses.create(model="m", input="?")
    conversation = client.conversations.create().id
    client.responses.create(model="m", input="?", conversation=conversation)
    counts.clear()
    for _ in range(5):
        last = client.responses.create(model="m", input="?", previous_response_id=last.id)
        client.responses.create(model="m", input="?", conversation=conversation)
    assert sum(counts) == 0


@pytest.mark.parametrize("stream", [False, True])
def test_functions_are_run_by_the_client(serve: Serve, stream: bool) -> None:
    calls = [ToolCall("weather", {"city": "Rome"}, "call_1"), ToolCall("weather", {"city": "Oslo"}, "call_2")]
    model = ScriptedModel([["Let me look.", *calls], "Sunny and cold."])
    client, _ = serve(model=model)
    if stream:
        events = list(client.responses.create(model="m", input="?", tools=[WEATHER], stream=True))
        assert kinds(events)[6:] == [
            "response.content_part.done",
            "response.output_item.done",
            *[
                "response.output_item.added",
                "response.function_call_arguments.delta",
                "response.function_call_arguments.done",
                "response.output_item.done",
            ]
            * 2,
            "response.completed",
        ]
        assert events[-1].type == "response.completed"
        asked = events[-1].response
    else:
        asked = client.responses.create(model="m", input="?", tools=[WEATHER])
    wanted = [item for item in asked.output if item.type == "function_call"]
    assert [(item.call_id, json.loads(item.arguments)) for item in wanted] == [
        ("call_1", {"city": "Rome"}),
        ("call_2", {"city": "Oslo"}),
    ]
    outputs: Any = [
        {"type": "function_call_output", "call_id": item.call_id, "output": item.call_id} for item in wanted
    ]
    answer = client.responses.create(model="m", input=outputs[::-1], previous_response_id=asked.id, tools=[WEATHER])
    assert answer.output_text == "Sunny and cold."
    assert texts(model.requests[1])[-2:] == [("ipython", "call_1"), ("ipython", "call_2")], "in the calls' order"


def test_a_function_call_may_be_answered_twice_and_in_other_company(serve: Serve) -> None:
    model = ScriptedModel([ToolCall("weather", {"city": "Rome"}, "call_1"), "Sunny.", "Rainy.", "Both."])
    client, _ = serve(model=model)

    def answer(output: str, *more: Any) -> Response:
        result = {"type": "function_call_output", "call_id": "call_1", "output": output}
        given: Any = [result, *more]
        return client.responses.create(model="m", input=given, previous_response_id=asked.id, tools=[WEATHER])

    asked = client.responses.create(model="m", input="?", tools=[WEATHER])
    assert answer("sun").output_text == "Sunny."
    assert answer("rain").output_text == "Rainy."
    assert answer("sun", {"role": "user", "content": "And?"}).output_text == "Both."
    assert texts(model.requests[2]) == [("user", "?"), ("assistant", ""), ("ipython", "rain")]
    assert texts(model.requests[3])[2:] == [("ipython", "sun"), ("user", "And?")]


def test_a_call_without_its_output_is_refused(serve: Serve) -> None:
    client, _ = serve(ToolCall("weather", {"city": "Rome"}, "call_1"))
    asked = client.responses.create(model="m", input="?", tools=[WEATHER])
    with pytest.raises(openai.BadRequestError, match="call_1"):
        client.responses.create(model="m", input="Never mind.", previous_response_id=asked.id)


def test_a_whole_conversation_may_be_sent_along(serve: Serve) -> None:
    model = ScriptedModel(["Sunny."])
    client, _ = serve(model=model)
    answer = client.responses.create(
        model="m",
        store=False,
        input=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "?"}]},
            {"type": "function_call", "call_id": "a", "name": "weather", "arguments": '{"city": "Rome"}'},
            {"type": "function_call_output", "call_id": "a", "output": "sun"},
        ],
        tools=[WEATHER],
    )
    assert answer.output_text == "Sunny."
    assert [role for role, _ in texts(model.requests[0])] == ["system", "user", "assistant", "ipython"]
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)


def test_what_is_not_stored_leaves_nothing_behind(serve: Serve) -> None:
    client, running = serve("One.", "Two.")
    kept = client.responses.create(model="m", input="1")
    client.responses.create(model="m", input="2", previous_response_id=kept.id, store=False)
    assert len(on_loop(running, running.server.services.store.sessions)) == 1
    assert client.responses.retrieve(kept.id).output_text == "One."


def tools_of(name: str, function: Callable[..., Any]) -> list[Tool]:
    """A toolgroup of one tool with a name that models know."""

    class Named:
        def __init__(self) -> None:
            self._tool = ToolClass(function, name="x")
            definition = self._tool.definition
            self.definition = ToolDef(name, definition.description, definition.parameters)
            self.policy = self._tool.policy
            self.invoke = self._tool.invoke

    return [Named()]  # type: ignore[list-item]


def search(query: str) -> ToolOutput:
    """Searches."""
    return ToolOutput("Found.", {"sources": [{"url": "https://example.org/a", "title": "A"}]})


def test_a_search_runs_here(serve: Serve) -> None:
    client, _ = serve(
        ToolCall("brave_search", {"query": "llamas"}, "call_1"),
        "They spit.",
        toolgroups={"builtin::websearch": tools_of("brave_search", search)},
    )
    events = list(
        client.responses.create(
            model="m",
            input="?",
            tools=[{"type": "web_search_preview"}],
            include=["web_search_call.action.sources"],
            stream=True,
        )
    )
    assert kinds(events)[2:8] == [
        "response.output_item.added",
        "response.web_search_call.in_progress",
        "response.web_search_call.searching",
        "response.web_search_call.completed",
        "response.output_item.done",
        "response.output_item.added",
    ]
    assert events[-1].type == "response.completed"
    item = events[-1].response.output[0]
    assert item.type == "web_search_call"
    assert item.action.type == "search"
    assert (item.status, item.action.query) == ("completed", "llamas")
    assert [source.url for source in item.action.sources or ()] == ["https://example.org/a"]
    assert events[-1].response.output_text == "They spit."


def keyed(query: str) -> str:
    """Searches."""
    return f"searched with {keys.find('TAVILY_API_KEY')}"


def test_a_key_that_comes_with_a_request_serves_that_request(serve: Serve) -> None:
    call = ToolCall("brave_search", {"query": "x"}, "call_1")
    model = ScriptedModel([call, "Done.", call, "Done."])
    client, _ = serve(model=model, toolgroups={"builtin::websearch": tools_of("brave_search", keyed)})
    given = {"x-llamastack-provider-data": json.dumps({"tavily_search_api_key": "t0p"})}
    client.responses.create(model="m", input="?", tools=[{"type": "web_search"}], extra_headers=given)
    client.responses.create(model="m", input="?", tools=[{"type": "web_search"}])
    told = [model.requests[number].messages[-1].text for number in (1, 3)]
    assert told == ["searched with t0p", "searched with None"]


def run_code(code: str) -> ToolOutput:
    """Runs code."""
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    return ToolOutput((Text("4\n"), Image.of(f"data:image/png;base64,{pixel}")))


def test_code_runs_here(serve: Serve) -> None:
    client, _ = serve(
        ToolCall("code_interpreter", {"code": "print(2 + 2)"}, "call_1"),
        "Four.",
        toolgroups={"builtin::code_interpreter": tools_of("code_interpreter", run_code)},
    )
    answer = client.responses.create(
        model="m",
        input="?",
        tools=[{"type": "code_interpreter", "container": {"type": "auto"}}],
        tool_choice={"type": "code_interpreter"},
        include=["code_interpreter_call.outputs"],
    )
    item = answer.output[0]
    assert item.type == "code_interpreter_call"
    assert item.code == "print(2 + 2)"
    assert [output.type for output in item.outputs or ()] == ["logs", "image"]
    assert answer.output_text == "Four."


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


MCP: Any = {"type": "mcp", "server_label": "maths"}
FREE: Any = {**MCP, "require_approval": "never"}


def test_a_configured_mcp_server_is_named_by_its_label(serve: Serve) -> None:
    client, _ = serve(ToolCall("add", {"a": 2, "b": 2}, "call_1"), "Four.", toolgroups={"mcp::maths": [Tool(add)]})
    answer = client.responses.create(model="m", input="?", tools=[FREE])
    listed, called, _ = answer.output
    assert listed.type == "mcp_list_tools"
    assert [tool.name for tool in listed.tools] == ["add"]
    assert called.type == "mcp_call"
    assert (called.server_label, called.name, called.output, called.status) == ("maths", "add", "4", "completed")


class McpServer(Server):
    """Speaks just enough of the protocol; its one tool says which key it was called with."""

    async def answer(self, request: Request, answer: Answer) -> None:
        if request.method != "POST":
            await answer.json(405, {})
            return
        tools = {"tools": [{"name": "whoami", "inputSchema": {"type": "object"}}]}
        said = {"content": [{"type": "text", "text": request.headers.get("authorization", "nobody")}]}
        about = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}
        results = {
            "initialize": about | {"serverInfo": {"name": "x", "version": "1"}},
            "tools/list": tools,
            "tools/call": said,
        }
        asked = request.json
        if asked["method"] in results:
            await answer.json(200, {"jsonrpc": "2.0", "id": asked["id"], "result": results[asked["method"]]})
        else:
            await answer.json(202, {})


def test_an_mcp_server_is_named_by_its_address(serve: Serve) -> None:
    with McpServer() as web:
        url = f"{web.url}/mcp"
        client, _ = serve(ToolCall("whoami", {}, "call_1"), "Done.", config={"mcp": {"known": {"url": url}}})
        mine: Any = {**FREE, "server_label": "mine", "server_url": url, "authorization": "s3cret"}
        answer = client.responses.create(model="m", input="?", tools=[mine])
        called = next(item for item in answer.output if item.type == "mcp_call")
        assert (called.server_label, called.output) == ("mine", "Bearer s3cret")
        assert "s3cret" not in json.dumps(client.responses.retrieve(answer.id).to_dict()["tools"])


def test_an_mcp_server_that_refuses_us_is_not_authorised(serve: Serve) -> None:
    with greeting("s3cret") as url:
        known = {"mcp": {"known": {"url": url}}}
        client, _ = serve(ToolCall("greet", {"name": "Ann"}, "call_1"), "Done.", config=known)
        mine: Any = {**FREE, "server_label": "mine", "server_url": url}
        keyed: Any = {**mine, "authorization": "s3cret"}
        with pytest.raises(openai.AuthenticationError, match="Unauthorized"):
            client.responses.create(model="m", input="?", tools=[mine])
        answer = client.responses.create(model="m", input="?", tools=[keyed])
        assert "Hello, Ann." in [item.output for item in answer.output if item.type == "mcp_call"]


@pytest.mark.parametrize("approve", [True, False])
def test_mcp_calls_wait_for_an_approval(serve: Serve, approve: bool) -> None:
    model = ScriptedModel([ToolCall("add", {"a": 2, "b": 2}, "call_1"), "Done."])
    client, _ = serve(model=model, toolgroups={"mcp::maths": [Tool(add)]})
    asked = client.responses.create(model="m", input="?", tools=[MCP])
    request = asked.output[-1]
    assert request.type == "mcp_approval_request"
    assert json.loads(request.arguments) == {"a": 2, "b": 2}
    answer = client.responses.create(
        model="m",
        previous_response_id=asked.id,
        tools=[MCP],
        input=[{"type": "mcp_approval_response", "approval_request_id": request.id, "approve": approve}],
    )
    assert answer.output_text == "Done."
    told = texts(model.requests[1])[-1][1]
    assert told == "4" if approve else "did not allow" in told


def test_a_tool_that_fails_is_told(serve: Serve) -> None:
    client, _ = serve(ToolCall("add", {"a": "x", "b": 2}, "call_1"), "Oh.", toolgroups={"mcp::maths": [Tool(add)]})
    answer = client.responses.create(model="m", input="?", tools=[FREE])
    called = next(item for item in answer.output if item.type == "mcp_call")
    assert called.status == "failed"
    assert called.error
    assert answer.output_text == "Oh."


def test_a_stored_prompt_gives_the_instructions(serve: Serve) -> None:
    model = ScriptedModel(["Hi Ada.", "Hi Bob."])
    client, running = serve(model=model)
    store = running.server.services.store
    prompts = PromptStore(store)
    on_loop(running, lambda: prompts.aset("greeter", "Greet {{who}}.", variables=["who"]))
    client.responses.create(model="m", input="Hi", prompt={"id": "greeter", "variables": {"who": "Ada"}})
    who: Any = {"type": "input_text", "text": "Bob"}
    client.responses.create(model="m", input="Hi", prompt={"id": "greeter", "version": "1", "variables": {"who": who}})
    assert [texts(request)[0][1] for request in model.requests] == ["Greet Ada.", "Greet Bob."]
    session = on_loop(running, store.sessions)[0].session_id
    step = History(session, on_loop(running, store.read, session)).turns[0].steps[0]
    assert isinstance(step, InferenceStep)
    assert step.prompt == "greeter@1"
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="m", input="Hi", prompt={"id": "greeter", "version": "2"})


def test_the_answers_form_reaches_the_model(serve: Serve) -> None:
    model = ScriptedModel(['{"a": 1}'])
    client, _ = serve(model=model)
    schema: dict[str, object] = {"type": "object", "properties": {"a": {"type": "integer"}}}
    client.responses.create(
        model="m", input="?", text={"format": {"type": "json_schema", "name": "x", "schema": schema}}
    )
    assert model.requests[0].response_format == schema


def test_an_answer_that_was_cut_off_is_incomplete(serve: Serve) -> None:
    cut = AssistantMessage("Half a", stop_reason=StopReason.OUT_OF_TOKENS)
    client, _ = serve(cut, cut)
    answer = client.responses.create(model="m", input="?")
    assert answer.status == "incomplete"
    assert answer.incomplete_details
    assert answer.incomplete_details.reason == "max_output_tokens"
    events = list(client.responses.create(model="m", input="?", stream=True))
    assert events[-1].type == "response.incomplete"


def test_a_model_that_fails(serve: Serve) -> None:
    error = ["Half ", ConnectionFailed("The line was cut.")]
    client, _ = serve(error, error)
    with pytest.raises(openai.InternalServerError, match="line was cut"):
        client.responses.create(model="m", input="?")
    events = list(client.responses.create(model="m", input="?", stream=True))
    last = events[-1]
    assert last.type == "response.failed"
    assert last.response.error
    assert "line was cut" in last.response.error.message
    failed = client.responses.retrieve(last.response.id)
    assert (failed.status, failed.output_text) == ("failed", "Half ")
    assert failed.output[0].type == "message"
    assert failed.output[0].status == "incomplete"


class Held(ScriptedModel):
    """A model that says a word, waits until it is let go, and says another."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = asyncio.Event()
        self.ended = threading.Event()
        super().__init__()

    async def generate(self, prepared: Any) -> Any:
        try:
            yield "Half "
            self.begun.set()
            await self.go.wait()
            yield "whole."
        finally:
            self.ended.set()


def test_a_background_response_is_retrieved_when_it_has_ended(serve: Serve) -> None:
    model = Held()
    client, running = serve(model=model)
    queued = client.responses.create(model="m", input="?", background=True)
    assert queued.status == "queued"
    assert model.begun.wait(10)
    assert client.responses.retrieve(queued.id).status == "in_progress"
    stream = client.responses.retrieve(queued.id, stream=True)
    first = next(stream)
    assert first.type == "response.created"
    running.soon(model.go.set)
    rest = list(stream)
    assert rest[0].type == "response.queued"
    assert [event.sequence_number for event in rest] == list(range(1, len(rest) + 1))
    again = list(client.responses.retrieve(queued.id, stream=True, starting_after=3))
    assert [event.sequence_number for event in again] == [event.sequence_number for event in rest[3:]]
    assert client.responses.retrieve(queued.id).output_text == "Half whole."


def test_a_client_that_goes_away_does_not_end_a_stored_response(serve: Serve) -> None:
    model = Held()
    client, running = serve(model=model)
    stream = client.responses.create(model="m", input="?", stream=True)
    first = next(stream)
    assert first.type == "response.created"
    assert model.begun.wait(10)
    stream.close()
    running.soon(model.go.set)
    list(client.responses.retrieve(first.response.id, stream=True))
    assert client.responses.retrieve(first.response.id).output_text == "Half whole."


def test_what_is_not_stored_ends_with_its_reader(serve: Serve) -> None:
    model = Held()
    client, running = serve(model=model)
    stream = client.responses.create(model="m", input="?", stream=True, store=False)
    next(stream)
    assert model.begun.wait(10)
    stream.close()
    assert model.ended.wait(10)
    assert on_loop(running, running.server.services.store.sessions) == []


def test_a_running_response_is_cancelled(serve: Serve) -> None:
    model = Held()
    client, _ = serve(model=model)
    queued = client.responses.create(model="m", input="?", background=True)
    assert model.begun.wait(10)
    with pytest.raises(openai.BadRequestError, match="not ended yet"):
        client.responses.create(model="m", input="?", previous_response_id=queued.id)
    cancelled = client.responses.cancel(queued.id)
    assert cancelled.status == "cancelled"
    assert client.responses.retrieve(queued.id).status == "cancelled"
    assert client.responses.cancel(queued.id).status == "cancelled"


def test_a_response_survives_a_restart_and_is_deleted_with_its_session(serve: Serve) -> None:
    client, running = serve("One.", "Two.", kept=True)
    first = client.responses.create(model="m", input="1")
    serve.end()
    client, running = serve("Two.", kept=True)
    assert client.responses.retrieve(first.id).output_text == "One."
    second = client.responses.create(model="m", input="2", previous_response_id=first.id)
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    assert len(on_loop(running, running.server.services.store.sessions)) == 1, "the second response rests on it"
    client.responses.delete(second.id)
    assert on_loop(running, running.server.services.store.sessions) == []


def test_a_response_whose_server_died_has_failed(serve: Serve) -> None:
    client, running = serve("One.", kept=True)
    answer = client.responses.create(model="m", input="1")
    services = running.server.services
    services.responses.drop(answer.id)
    kept = on_loop(running, services.documents.get, "response", answer.id)
    unfinished = {**kept.body, "response": {**kept.body["response"], "status": "in_progress"}}
    on_loop(running, services.documents.put, "response", answer.id, unfinished)
    found = client.responses.retrieve(answer.id)
    assert found.status == "failed"
    assert found.error
    assert "ended while" in found.error.message


UNUSABLE: list[tuple[dict[str, Any], str]] = [
    ({"input": []}, "at least one message"),
    ({"input": None}, "at least one message"),
    ({"input": [{"type": "computer_call"}]}, "not supported"),
    ({"input": [{"role": "user", "content": 3}]}, "content"),
    ({"tools": [{"type": "image_generation"}]}, "not supported"),
    ({"tools": [{"type": "mcp", "server_label": "nobody"}]}, "needs server_url"),
    ({"tools": [{**MCP, "server_url": "http://127.0.0.1:1/mcp"}]}, "only public"),
    ({"tools": [{**MCP, "server_url": "file:///etc/passwd"}]}, "cannot be used"),
    ({"tools": [{"type": "file_search"}]}, "vector_store_ids"),
    ({"tool_choice": {"type": "file_search"}}, "not among the tools"),
    ({"max_tool_calls": 3}, "max_tool_calls"),
    ({"truncation": "auto"}, "truncation"),
    ({"background": True, "store": False}, "stored"),
    ({"previous_response_id": "x", "conversation": "y"}, "not both"),
    ({"instructions": "x", "prompt": {"id": "y"}}, "not both"),
    ({"text": {"format": {"type": "xml"}}}, "response_format"),
]


def test_a_request_that_cannot_be_used_is_refused(serve: Serve) -> None:
    client, _ = serve()
    for change, message in UNUSABLE:
        with pytest.raises(openai.BadRequestError, match=message):
            client.post("/responses", body={"model": "m", "input": "x", **change}, cast_to=object)


def test_what_is_not_there_is_not_found(serve: Serve) -> None:
    client, _ = serve()
    for change in ({"previous_response_id": "x"}, {"conversation": "x"}, {"model": "x"}):
        with pytest.raises(openai.NotFoundError):
            client.post("/responses", body={"model": "m", "input": "x", **change}, cast_to=object)
    for call in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            call("resp_x")


# Conversations.


def test_responses_of_a_conversation_share_its_items(serve: Serve) -> None:
    model = ScriptedModel(["One.", ToolCall("weather", {"city": "Rome"}, "call_1"), "Sunny."])
    client, _ = serve(model=model)
    hello: Any = {"type": "message", "role": "user", "content": "My name is Ada."}
    conversation = client.conversations.create(items=[hello], metadata={"a": "b"})
    client.responses.create(model="m", input="1", conversation=conversation.id)
    client.responses.create(model="m", input="?", conversation=conversation.id, tools=[WEATHER])
    with pytest.raises(openai.BadRequestError, match="No tool output found for function call call_1"):
        client.responses.create(model="m", input="?", conversation=conversation.id)
    output: Any = [{"type": "function_call_output", "call_id": "call_1", "output": "sun"}]
    answer = client.responses.create(model="m", input=output, conversation=conversation.id, tools=[WEATHER])
    assert answer.output_text == "Sunny."
    assert texts(model.requests[0]) == [("user", "My name is Ada."), ("user", "1")]
    items = list(client.conversations.items.list(conversation.id, order="asc", limit=3))
    assert [item.type for item in items] == [
        *["message"] * 4,
        "function_call",
        "function_call_output",
        "message",
    ]
    assert client.conversations.items.retrieve(str(items[0].id), conversation_id=conversation.id) == items[0]


def test_a_conversation_is_changed_and_deleted(serve: Serve) -> None:
    client, running = serve()
    conversation = client.conversations.create()
    assert client.conversations.update(conversation.id, metadata={"c": "d"}).metadata == {"c": "d"}
    assert client.conversations.retrieve(conversation.id).metadata == {"c": "d"}
    said: Any = {"type": "message", "role": "user", "content": "Hello"}
    added = client.conversations.items.create(conversation.id, items=[said])
    with pytest.raises(openai.BadRequestError, match="cannot be removed one by one"):
        client.conversations.items.delete(str(added.data[0].id), conversation_id=conversation.id)
    assert client.conversations.delete(conversation.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.list(conversation.id)
    assert on_loop(running, running.server.services.store.sessions) == []
