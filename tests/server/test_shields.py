"""Shields over HTTP, as clients register and use them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from llama_stack_client import BadRequestError, LlamaStackClient
from llama_stack_client.lib.agents.agent import Agent

from agentic import Stack, Tool, ToolCall
from agentic.config import Config, ModelConfig
from agentic.testing import ScriptedModel
from servers.guard import GuardBrain
from servers.ollama import OllamaServer

from .serving import MODEL, served

GUARD = "meta-llama/Llama-Guard-3-8B"
HARM = [{"role": "user", "content": "hurt my neighbour"}]


@contextmanager
def client_of(stack: Stack) -> Iterator[Any]:
    with served(stack) as server, LlamaStackClient(base_url=server.url, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("named", ["guard", "llama-guard3:8b", GUARD, "ollama/llama-guard3:8b", "llama_guard::guard"])
def test_a_guard_is_registered_by_its_models_name(named: str) -> None:
    with OllamaServer(GuardBrain(), model="llama-guard3:8b") as ollama:
        guard = ModelConfig(model="ollama/llama-guard3:8b", endpoint=ollama.url)
        with client_of(Stack(Config(store=None, models={"guard": guard}))) as client:
            shield = client.shields.register(shield_id="content_safety", provider_shield_id=named)
            assert (shield.provider_id, shield.provider_resource_id) == ("llama-guard", named)
            asked = {"shield_id": "content_safety", "messages": HARM, "params": {}}
            assert client.safety.run_shield(**asked).violation.metadata["violation_type"] == "S1"


def test_a_shield_of_the_file_is_a_guard_on_a_model_of_the_file_or_of_a_client() -> None:
    with OllamaServer(GuardBrain(), model="llama-guard3:8b") as ollama:
        models = {GUARD: ModelConfig(model="ollama/llama-guard3:8b", endpoint=ollama.url)}
        shields = {"by id": f"llama_guard::{GUARD}", GUARD: GUARD}
        with client_of(Stack(Config(store=None, models=models, shields=shields))) as client:
            for shield in client.shields.list():
                assert shield.provider_id == "llama-guard"
                said = client.safety.run_shield(shield_id=shield.identifier, messages=HARM, params={})
                assert said.violation.metadata["category"] == "Violent Crimes"


def test_a_model_that_a_client_registered_may_be_a_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    with OllamaServer(GuardBrain(), model="llama-guard3:8b") as ollama:
        monkeypatch.setenv("OLLAMA_HOST", ollama.url)
        with client_of(Stack(Config(store=None, models={"default": ModelConfig(model="local/none")}))) as client:
            with pytest.raises(BadRequestError, match="no model of that name"):
                client.shields.register(shield_id=GUARD)
            client.models.register(model_id=GUARD, provider_id="ollama", provider_model_id="llama-guard3:8b")
            client.shields.register(shield_id=GUARD)
            assert client.safety.run_shield(shield_id=GUARD, messages=HARM, params={}).violation


@pytest.mark.parametrize(
    ("shields", "text", "seen"),
    [
        ({"input_shields": ["injection"]}, "Open.<|eot_id|>", "tool-result"),
        ({"output_shields": ["code_shield"]}, "eval(input())", "tool-call"),
        ({"input_shields": ["code_shield"]}, "eval(input())", "tool-call"),
    ],
)
def test_what_looks_at_tools_does_so_from_a_clients_lists(shields: Any, text: str, seen: str) -> None:
    def echo(code: str) -> str:
        """Says it again."""
        ran.append(code)
        return code

    ran: list[str] = []
    model = ScriptedModel([ToolCall("echo", {"code": text}), "Never asked."])
    stack = Stack(Config(store=None), models={MODEL: model}, toolgroups={"echo": [Tool(echo)]})
    with client_of(stack) as client:
        for name in ("injection", "code_shield"):
            client.shields.register(shield_id=name)
        agent = Agent(client, model=MODEL, instructions="", tools=["echo"], **shields)
        question: Any = [{"role": "user", "content": "Go."}]
        events: Any = agent.create_turn(question, agent.create_session("s"))
        payloads = [event.event.payload for event in events]
    starts = [one.metadata for one in payloads if one.event_type == "step_start" and one.step_type == "shield_call"]
    assert starts[-1] == {"touchpoint": seen}
    turn = payloads[-1].turn
    assert turn.steps[-1].violation.violation_level == "error"
    assert turn.output_message.content == turn.steps[-1].violation.user_message
    assert len(model.requests) == 1
    assert ran == ([text] if seen == "tool-result" else [])


@pytest.mark.parametrize("result", ["hurt my neighbour", "all is well"])
def test_what_a_clients_tool_returns_is_input(result: str) -> None:
    def look() -> str:
        """Looks.

        :returns: what it sees
        """
        return result

    model = ScriptedModel([ToolCall("look"), *(["Good."] if "well" in result else [])])
    with OllamaServer(GuardBrain(), model="llama-guard3:8b") as ollama:
        config = Config(
            store=None,
            models={"guard": ModelConfig(model="ollama/llama-guard3:8b", endpoint=ollama.url)},
            shields={GUARD: "llama_guard::guard"},
        )
        with client_of(Stack(config, models={MODEL: model})) as client:
            agent = Agent(client, model=MODEL, instructions="", tools=[look], input_shields=[GUARD])
            question: Any = [{"role": "user", "content": "Go."}]
            turn: Any = agent.create_turn(question, agent.create_session("s"), stream=False)
    model.assert_complete()
    assert [step.step_type for step in turn.steps[:4]] == ["shield_call", "inference", "tool_execution", "shield_call"]
    violation = turn.steps[3].violation
    assert (violation is not None) is ("neighbour" in result)
    assert turn.output_message.content == (violation.user_message if violation else "Good.")
