"""The unmodified llama-stack-client works: each of its flows, over a real connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from llama_stack_client import (
    APIStatusError,
    AsyncLlamaStackClient,
    BadRequestError,
    LlamaStackClient,
)
from llama_stack_client.lib.agents.agent import Agent, AsyncAgent
from llama_stack_client.lib.agents.client_tool import client_tool
from llama_stack_client.lib.agents.event_logger import EventLogger
from llama_stack_client.lib.agents.react.agent import ReActAgent

from agentic import Tool
from agentic.testing import Reply, ScriptedModel
from agentic.types.errors import ConnectionFailed, ToolError
from agentic.types.messages import AssistantMessage, StopReason
from agentic.types.sampling import Completion
from agentic.types.steps import Hit
from agentic.types.tools import ToolCall

from .serving import MODEL, served

HELLO: Any = [{"role": "user", "content": "Hello"}]


@client_tool
def get_boiling_point(liquid_name: str, celcius: bool = True) -> int:
    """Returns the boiling point of a liquid.

    :param liquid_name: The name of the liquid
    :param celcius: Whether to return the boiling point in Celcius
    """
    if liquid_name == "nothing":
        raise ValueError("There is no such liquid.")
    return -100 if celcius else -212


@client_tool
def now() -> str:
    """Says what time it is."""
    return "noon"


def boiling(call_id: str, **arguments: Any) -> ToolCall:
    return ToolCall("get_boiling_point", arguments, call_id)


@contextmanager
def client_of(replies: Sequence[Reply], **objects: Any) -> Iterator[tuple[LlamaStackClient, ScriptedModel]]:
    """A client of a server whose model follows a script, which has to be used up."""
    model = ScriptedModel(replies)
    with served(models={MODEL: model}, **objects) as server:
        client = LlamaStackClient(base_url=server.url, max_retries=0)
        with client:
            yield client, model
    model.assert_complete()


def whole(agent: Agent, messages: Any, session_id: str, **options: Any) -> Any:
    """A turn that is not streamed."""
    return agent.create_turn(messages, session_id, stream=False, **options)


def printed(agent: Agent, session_id: str) -> str:
    """A turn as the client's logger prints it."""
    events: Any = agent.create_turn(HELLO, session_id)
    return "".join(str(event) for event in EventLogger().log(events))


class Bank:
    """A memory bank that knows two things."""

    name = "docs"
    hits = (
        Hit("Llama 3 uses grouped-query attention.", 0.9, "num-0", "docs", metadata={"author": "a"}),
        Hit("Torchtune fine-tunes with LoRA.", 0.4, "num-1", "docs"),
    )

    async def aquery(self, query: str, *, k: int = 5) -> Sequence[Hit]:
        return self.hits[:k]


def test_an_agent_talks_and_its_events_are_printed() -> None:
    with client_of([["Hello ", "you."]]) as (client, _):
        agent = Agent(client, model=MODEL, instructions="Be brief.")
        session_id = agent.create_session("s")
        assert "Hello you." in printed(agent, session_id)


def test_a_client_tool_is_called_and_the_turn_goes_on() -> None:
    replies: list[Reply] = [boiling("c1", liquid_name="polyjuice"), "It boils at -100."]
    with client_of(replies) as (client, model):
        agent = Agent(client, model=MODEL, instructions="", tools=[get_boiling_point])
        session_id = agent.create_session("s")
        turn = whole(agent, HELLO, session_id)
        assert [step.step_type for step in turn.steps] == ["inference", "tool_execution", "inference"]
        assert turn.output_message.content == "It boils at -100."
        for step in turn.steps:
            found = client.agents.steps.retrieve(
                step.step_id, agent_id=agent.agent_id, session_id=session_id, turn_id=turn.turn_id
            )
            assert found.step.step_id == step.step_id
    assert model.requests[1].messages[-1].text == "-100"


def test_a_client_tool_that_raises_and_parallel_calls() -> None:
    calls: Reply = [boiling("c1", liquid_name="nothing"), boiling("c2", liquid_name="x", celcius=False)]
    with client_of([calls, "Done."]) as (client, model):
        agent = Agent(client, model=MODEL, instructions="", tools=[get_boiling_point])
        turn = whole(agent, HELLO, agent.create_session("s"))
        assert turn.output_message.content == "Done."
    texts = [message.text for message in model.requests[1].messages[-2:]]
    assert "no such liquid" in texts[0]
    assert texts[1] == "-212"


def test_tools_as_the_client_describes_them_become_json_schemas() -> None:
    with client_of([ToolCall("now", {}, "c1"), "Noon."]) as (client, model):
        agent = Agent(client, model=MODEL, instructions="", tools=[now, get_boiling_point])
        assert whole(agent, HELLO, agent.create_session("s")).output_message.content == "Noon."
    empty, boils = (tool.parameters for tool in model.requests[0].tools)
    assert empty["properties"] == {}
    assert [one["type"] for one in boils["properties"].values()] == ["string", "boolean"]


def test_a_tool_of_an_mcp_server_answers_with_items() -> None:
    def greet() -> str:
        """Greets."""
        return "Hello."

    with client_of([], toolgroups={"mcp::greeting": [Tool(greet)]}) as (client, _):
        invoked: Any = client.tool_runtime.invoke_tool(tool_name="greet", kwargs={})
        assert [(item.type, item.text) for item in invoked.content] == [("text", "Hello.")]


def test_an_async_agent_does_the_same() -> None:
    async def talk(url: str) -> Any:
        async with AsyncLlamaStackClient(base_url=url) as client:
            given: Any = client
            agent = AsyncAgent(given, model=MODEL, instructions="", tools=[get_boiling_point])
            session_id = await agent.create_session("s")
            return await agent.create_turn(HELLO, session_id, stream=False)

    replies: list[Reply] = [boiling("c1", liquid_name="polyjuice"), "It boils at -100."]
    with client_of(replies) as (client, _):
        turn = asyncio.run(talk(str(client.base_url)))
    assert turn.output_message.content == "It boils at -100."


def test_an_async_agent_with_a_toolgroup_that_has_arguments() -> None:
    async def talk(url: str) -> Any:
        async with AsyncLlamaStackClient(base_url=url) as client:
            given: Any = client
            tool: Any = {"name": "builtin::rag", "args": {"vector_db_ids": ["docs"]}}
            agent = AsyncAgent(given, model=MODEL, instructions="", tools=[tool])
            session_id = await agent.create_session("s")
            stream: Any = await agent.create_turn(HELLO, session_id)
            return [chunk async for chunk in stream]

    call = ToolCall("knowledge_search", {"query": "attention"}, "c1")
    with client_of([call, "Grouped-query."], banks={"docs": Bank()}, toolgroups={}) as (client, _):
        chunks = asyncio.run(talk(str(client.base_url)))
    assert chunks[-1].event.payload.turn.output_message.content == "Grouped-query."


def test_a_react_agent_takes_a_turn_up_that_has_ended() -> None:
    params = [{"name": "liquid_name", "value": "polyjuice"}]
    action = {"thought": "t", "action": {"tool_name": "get_boiling_point", "tool_params": params}, "answer": None}
    answer = {"thought": "t", "action": None, "answer": "It boils at -100."}
    with client_of([json.dumps(action), json.dumps(answer), "And so on."]) as (client, model):
        agent = ReActAgent(client, model=MODEL, tools=[get_boiling_point], json_response_format=True)
        session_id = agent.create_session("s")
        turn = whole(agent, HELLO, session_id)
        assert [step.step_type for step in turn.steps] == ["inference", "tool_execution", "inference"]
        assert turn.steps[1].tool_calls == []
        assert turn.steps[1].tool_responses[0].content == "-100"
        assert json.loads(str(turn.output_message.content)) == answer
        read = client.agents.session.retrieve(session_id, agent_id=agent.agent_id)
        assert [one.turn_id for one in read.turns] == [turn.turn_id]
        assert len(read.turns[0].steps) == 3
        whole(agent, [{"role": "user", "content": json.dumps("more")}], session_id)
    assert model.requests[0].response_format is not None
    assert model.requests[1].messages[-1].text == "-100"


def test_tools_that_the_server_runs() -> None:
    def weather(city: str) -> str:
        """The weather in a city."""
        if city == "Nowhere":
            raise ToolError("There is no such city.")
        return f"Sunny in {city}."

    calls: Reply = [ToolCall("weather", {"city": "Rome"}, "a"), ToolCall("weather", {"city": "Nowhere"}, "b")]
    with client_of([calls, "Sunny."], toolgroups={"test::weather": [Tool(weather)]}) as (client, _):
        agent = Agent(client, model=MODEL, instructions="", tools=["test::weather"])
        turn = whole(agent, HELLO, agent.create_session("s"))
        assert [response.content for response in turn.steps[1].tool_responses] == [
            "Sunny in Rome.",
            "There is no such city.",
        ]
        assert turn.output_message.content == "Sunny."
        (listed,) = client.tools.list(toolgroup_id="test::weather")
        assert (listed.identifier, listed.parameters[0].name) == ("weather", "city")
        assert client.tools.get("weather").toolgroup_id == "test::weather"
        invoked = client.tool_runtime.invoke_tool(tool_name="weather", kwargs={"city": "Oslo"})
        assert invoked.content == "Sunny in Oslo."
        failed = client.tool_runtime.invoke_tool(tool_name="weather", kwargs={"city": "Nowhere"})
        assert failed.error_message == "There is no such city."
        (found,) = client.tool_runtime.list_tools(tool_group_id="test::weather")
        assert found.name == "weather"


def test_a_turn_may_have_tools_of_its_own() -> None:
    def weather(city: str) -> str:
        """The weather in a city."""
        return "Sunny."

    with client_of(["One.", "Two."], toolgroups={"test::weather": [Tool(weather)]}) as (client, model):
        agent = Agent(client, model=MODEL, instructions="")
        session_id = agent.create_session("s")
        whole(agent, HELLO, session_id, toolgroups=["test::weather"])
        whole(agent, HELLO, session_id)
    assert [len(request.tools) for request in model.requests] == [1, 0]
    assert [message.text for message in model.requests[1].messages if message.role == "assistant"] == ["One."]


def test_knowledge_is_searched() -> None:
    call = ToolCall("knowledge_search", {"query": "attention"}, "c1")
    with client_of([call, "Grouped-query."], banks={"docs": Bank()}) as (client, model):
        tool: Any = {"name": "builtin::rag/knowledge_search", "args": {"vector_db_ids": ["docs"]}}
        agent = Agent(client, model=MODEL, instructions="", tools=[tool])
        turn = whole(agent, HELLO, agent.create_session("s"))
        response = turn.steps[1].tool_responses[0]
        texts = [part.text for part in response.content]
        assert texts[0] == "knowledge_search tool found 2 chunks:\nBEGIN of knowledge_search tool results.\n"
        assert texts[1] == (
            "Result 1\nContent: Llama 3 uses grouped-query attention.\n"
            "Metadata: {'author': 'a', 'document_id': 'num-0'}\n"
        )
        assert response.metadata["document_ids"] == ["num-0", "num-1"]
        invoked: Any = client.tool_runtime.invoke_tool(
            tool_name="knowledge_search", kwargs={"query": "LoRA", "vector_db_ids": ["docs"], "session_id": "x"}
        )
        assert len(invoked.content) == 5
    assert [tool.name for tool in model.requests[0].tools] == ["knowledge_search"]


def test_memory_is_searched_before_the_model_is_asked() -> None:
    with client_of(["Grouped-query."], banks={"docs": Bank()}) as (client, _):
        memory: Any = {"name": "builtin::memory", "args": {"vector_db_ids": ["docs"]}}
        config: Any = {"model": MODEL, "instructions": "", "toolgroups": [memory]}
        agent_id = client.agents.create(agent_config=config).agent_id
        session_id = client.agents.session.create(agent_id, session_name="s").session_id
        stream = client.agents.turn.create(session_id, agent_id=agent_id, messages=HELLO, stream=True)
        payloads: list[Any] = [chunk.event.payload for chunk in stream]
    assert [(one.event_type, getattr(one, "step_type", None)) for one in payloads][:2] == [
        ("step_start", "memory_retrieval"),
        ("step_complete", "memory_retrieval"),
    ]
    assert payloads[1].step_details.vector_db_ids == "docs"
    assert "grouped-query" in str(payloads[1].step_details.inserted_context)


def test_a_document_is_attached_and_an_image_is_shown() -> None:
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    message: Any = {
        "role": "user",
        "content": [{"type": "image", "image": {"data": pixel}}, {"type": "text", "text": "What is this? "}],
    }
    with client_of(["A pixel."]) as (client, model):
        agent = Agent(client, model=MODEL, instructions="")
        documents: Any = [
            {"content": "First.", "mime_type": "text/plain"},
            {"content": {"uri": "data:text/plain;base64,U2Vjb25kLg=="}, "mime_type": "text/plain"},
        ]
        turn = whole(agent, [message], agent.create_session("s"), documents=documents)
        assert turn.input_messages[0].content[0].image.data == pixel
    assert model.requests[0].messages[-1].text == "What is this? First.Second."


def test_sampling_and_instructions_reach_the_model() -> None:
    with client_of(["Hi."]) as (client, model):
        agent = Agent(
            client,
            model=MODEL,
            instructions="Be brief.",
            sampling_params={
                "strategy": {"type": "top_p", "temperature": 0.5, "top_p": 0.9},
                "max_tokens": 7,
            },
        )
        whole(agent, HELLO, agent.create_session("s"))
    request = model.requests[0]
    assert request.messages[0].text == "Be brief."
    sampling = request.sampling
    assert (sampling.strategy, sampling.temperature, sampling.top_p, sampling.max_tokens) == ("top_p", 0.5, 0.9, 7)


def test_a_model_that_fails_in_the_middle_ends_the_stream_with_an_error() -> None:
    with client_of([["Half ", ConnectionFailed("The line was cut.")], "Whole."]) as (client, _):
        agent = Agent(client, model=MODEL, instructions="")
        session_id = agent.create_session("s")
        with pytest.raises(RuntimeError, match="502: The line was cut"):
            whole(agent, HELLO, session_id)
        assert "Whole." in printed(agent, session_id)
        broken, good = client.agents.session.retrieve(session_id, agent_id=agent.agent_id).turns
        assert broken.output_message.stop_reason == "out_of_tokens"
        assert good.output_message.content == "Whole."


def test_what_is_not_there_is_refused_in_words() -> None:
    with client_of([]) as (client, _):
        with pytest.raises(BadRequestError, match="Invalid value: Model 'no/such' not found"):
            client.models.retrieve("no/such")
        with pytest.raises(BadRequestError, match="Tool group 'builtin::none' not found"):
            client.tools.list(toolgroup_id="builtin::none")
        agent = Agent(client, model="no/such", instructions="")
        with pytest.raises(RuntimeError, match="Model 'no/such' not found"):
            whole(agent, HELLO, agent.create_session("s"))
        with pytest.raises(APIStatusError, match="Turn x not found"):
            client.agents.turn.retrieve("x", agent_id=agent.agent_id, session_id=agent.create_session("t"))
        with pytest.raises(BadRequestError, match="Register the MCP server"):
            client.tool_runtime.list_tools(mcp_endpoint={"uri": "http://127.0.0.1:1/mcp"})
        with pytest.raises(APIStatusError, match="has no GET /v1/datasets"):
            client.datasets.list()


def test_the_registries() -> None:
    with client_of([]) as (client, _):
        assert MODEL in [model.identifier for model in client.models.list()]
        client.models.register(model_id="mine", provider_id="openai", provider_model_id="some-model")
        assert client.models.retrieve("mine").provider_resource_id == "some-model"
        agent = Agent(client, model="mine", instructions="")
        with pytest.raises(RuntimeError, match="400: Invalid value"):
            whole(agent, HELLO, agent.create_session("s"))
        client.models.unregister("mine")
        assert "mine" not in [model.identifier for model in client.models.list()]
        assert {"builtin::rag", "builtin::websearch"} <= {group.identifier for group in client.toolgroups.list()}
        assert client.inspect.version().version == "0.2.12"
        assert client.inspect.health().status == "OK"
        assert any(route.route == "/v1/agents" for route in client.routes.list())
        providers = client.providers.list()
        assert client.providers.retrieve(providers[0].provider_id).api == "inference"


def test_the_model_that_stopped_early_says_so() -> None:
    from agentic.types.messages import AssistantMessage

    with client_of([AssistantMessage("Cut o", (), StopReason.OUT_OF_TOKENS)]) as (client, _):
        agent = Agent(client, model=MODEL, instructions="")
        turn = whole(agent, HELLO, agent.create_session("s"))
        assert turn.output_message.stop_reason == "out_of_tokens"


class Sure(ScriptedModel):
    """Says how sure it is."""

    async def generate(self, prepared: Any) -> Any:
        self.requests.append(prepared.request)
        yield "Hi"
        yield Completion(AssistantMessage("Hi"), logprobs=({"Hi": -0.5, "Ho": -1.5},))


def test_a_model_is_asked_how_sure_it_is() -> None:
    model = Sure()
    with served(models={MODEL: model}) as server, LlamaStackClient(base_url=server.url, max_retries=0) as client:
        text = client.inference.completion(model_id=MODEL, content="Say hi.", logprobs={"top_k": 2})
        chat = client.inference.chat_completion(model_id=MODEL, messages=HELLO, logprobs={})
        *_, last = client.inference.completion(model_id=MODEL, content="Say hi.", logprobs={"top_k": 1}, stream=True)
        told = [answer.logprobs[0].logprobs_by_token for answer in (text, chat, last) if answer.logprobs]
        assert told == [{"Hi": -0.5, "Ho": -1.5}] * 3
        assert [request.logprobs for request in model.requests] == [2, 1, 1]
        with pytest.raises(BadRequestError, match="top_k"):
            client.inference.completion(model_id=MODEL, content="Say hi.", logprobs={"top_k": 21})
