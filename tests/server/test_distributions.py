"""The ready-made files are served as they are, and the schema that is published is the one they are read by."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentic.config import Config, ModelConfig, PromptConfig, ServerConfig
from agentic.stack import Stack
from servers.brain import Reply
from servers.openai import OpenAIServer

from .serving import served

FILES = sorted((Path(__file__).parent.parent.parent / "examples" / "distributions").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_ready_made_file_is_served(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stack = Stack.from_config(file)
    with served(stack, settings=ServerConfig(port=0)) as server, httpx.Client(base_url=server.url) as client:
        models = [model["identifier"] for model in client.get("/v1/models").json()["data"]]
        assert "default" in models
        groups = [group["identifier"] for group in client.get("/v1/toolgroups").json()["data"]]
        assert groups == stack.config.toolgroups
        shields = [shield["identifier"] for shield in client.get("/v1/shields").json()["data"]]
        assert shields == list(stack.config.shields)
        banks = [bank["identifier"] for bank in client.get("/v1/vector-dbs").json()["data"]]
        assert banks == list(stack.config.banks)


def test_prompts_of_the_file_are_there_for_every_tenant() -> None:
    config = Config(store=None, prompts={"greeter": PromptConfig(template="Greet {{who}}.", variables=["who"])})
    with served(Stack(config)) as server:
        keys = server.server.config.app.state.keys  # type: ignore[union-attr] # it is the application, not its name
        for tenant in ("", "one"):
            _, key = asyncio.run_coroutine_threadsafe(keys.add(tenant=tenant), server.loop).result(20)
            asked = httpx.get(f"{server.url}/v1/prompts/greeter", headers={"authorization": f"Bearer {key}"})
            assert (asked.json().get("prompt"), asked.json().get("version")) == ("Greet {{who}}.", 1), asked.text


def test_a_registered_model_stands_where_its_providers_models_do() -> None:
    with OpenAIServer(model="other", key="a key of the file") as openai:
        named = ModelConfig(model="openai/named", endpoint=openai.url, api_key=openai.key)
        with served(Stack(Config(store=None, models={"default": named}))) as server:
            body: dict[str, Any] = {"model_id": "mine", "provider_id": "openai", "provider_model_id": "other"}
            httpx.post(f"{server.url}/v1/models", json=body).raise_for_status()
            asked = {"model_id": "mine", "messages": [{"role": "user", "content": "Hello"}]}
            answer = httpx.post(f"{server.url}/v1/inference/chat-completion", json=asked)
            assert answer.status_code == 200, answer.text
            body |= {"model_id": "vectors", "model_type": "embedding", "metadata": {"embedding_dimension": 2}}
            httpx.post(f"{server.url}/v1/models", json=body).raise_for_status()
            made = httpx.post(f"{server.url}/v1/vector-dbs", json={"vector_db_id": "v", "embedding_model": "vectors"})
            assert made.status_code == 200, made.text


def test_an_agent_keeps_to_the_context_that_the_file_gives_its_model() -> None:
    with OpenAIServer(lambda _seen: Reply("Yes.")) as openai:
        small = ModelConfig(model=f"openai/{openai.model}", endpoint=openai.url, api_key=openai.key, context_tokens=300)
        with served(Stack(Config(store=None, models={"small": small}))) as server:
            config = {"model": "small", "instructions": "Be brief.", "enable_session_persistence": False}
            agent = httpx.post(f"{server.url}/v1/agents", json={"agent_config": config}).json()["agent_id"]
            made = httpx.post(f"{server.url}/v1/agents/{agent}/session", json={"session_name": "s"}).json()
            asked = {"messages": [{"role": "user", "content": "Is this long? " * 20}], "stream": False}
            for _ in range(4):
                url = f"{server.url}/v1/agents/{agent}/session/{made['session_id']}/turn"
                answer = httpx.post(url, json=asked)
                assert answer.status_code == 200, answer.text
            assert len(openai.requests[-1].json["messages"]) < 6  # the system message and eight others were too many


def test_the_schema_is_published() -> None:
    command = [sys.executable, "-m", "agentic", "serve", "--schema"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    schema = json.loads(printed)
    assert set(schema["properties"]) == set(Config.model_fields)
    assert schema["additionalProperties"] is False
