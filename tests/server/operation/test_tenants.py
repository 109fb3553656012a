"""One tenant sees nothing of another one: every route of the API that takes an id is tried."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from agentic.config import BankConfig, Config, ServerConfig
from agentic.stack import Stack
from agentic.testing import ScriptedModel
from agentic.types.errors import InvalidInput

from ..serving import Served, served
from .test_keys import keys_of, made

MESSAGE = {"role": "user", "content": "Remember the cat."}
EVERYTHING = ["inference", "agents", "admin"]
SHARED = {"provider_id", "tool_name"}
"""What these name is the configuration's."""

ELSEWHERE = ("/content", "/toolgroups/{toolgroup_id}")
"""A file's bytes lie in a folder of each test's own; a tool group's answer would connect to it."""

BODIES: dict[str, Any] = {
    "session": {"session_name": "s"},
    "turn": {"messages": [MESSAGE]},
    "resume": {"tool_responses": []},
    "set-default-version": {"version": 1},
    "{prompt_id}": {"prompt": "Be mine."},
    "{conversation_id}": {"metadata": {"a": "b"}},
    "items": {"items": [MESSAGE]},
    "{vector_store_id}": {"name": "mine"},
    "search": {"query": "cat"},
    "{file_id}": {"attributes": {"a": "b"}},
}
"""A body that would be taken, by the path's last part."""


@dataclass
class Parties:
    """Two tenants of one server; the first one owns things."""

    server: Served
    owner: httpx.Client
    other: httpx.Client
    ids: dict[str, str]


@pytest.fixture(scope="module")
def parties() -> Iterator[Parties]:
    config = Config(store=None, banks={"shared": BankConfig(kind="keyword")})
    stack = Stack(config, models={"m": ScriptedModel(["Hello"] * 20)})
    with served(stack, settings=ServerConfig(port=0, drain_seconds=5)) as server:
        owner, other = (
            httpx.Client(base_url=server.url, headers=made(server, tenant=tenant, scopes=EVERYTHING), timeout=20)
            for tenant in ("acme", "rival")
        )
        with owner, other:
            yield Parties(server, owner, other, owned_by(owner))


def owned_by(client: httpx.Client) -> dict[str, str]:
    """Makes one of everything; returns the ids by the names that they have in paths."""

    def post(path: str, body: Any) -> Any:
        answer = client.post(path, json=body)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json() if answer.content else None

    agent = post("/v1/agents", {"agent_config": {"model": "m", "instructions": ""}})["agent_id"]
    session = post(f"/v1/agents/{agent}/session", {"session_name": "s"})["session_id"]
    turn = post(f"/v1/agents/{agent}/session/{session}/turn", {"messages": [MESSAGE]})
    upload = client.post("/v1/files", files={"file": ("cat.txt", b"cat")}, data={"purpose": "assistants"}).json()
    bank = {"vector_db_id": "docs", "embedding_model": "all-MiniLM-L6-v2"}
    post("/v1/memory_banks", {"memory_bank_id": "docs", "params": {"memory_bank_type": "keyword"}})
    batch = post("/v1/vector_stores/docs/file_batches", {"file_ids": [upload["id"]]})
    conversation = post("/v1/conversations", {"items": [MESSAGE]})["id"]
    items = client.get(f"/v1/conversations/{conversation}/items").json()["data"]
    post("/v1/prompts", {"prompt_id": "greeter", "prompt": "Greet."})
    post("/v1/models", {"model_id": "private", "provider_id": "openai", "provider_model_id": "x"})
    post("/v1/shields", {"shield_id": "private", "provider_shield_id": "llama_guard"})
    group = {"toolgroup_id": "mcp::private", "provider_id": "model-context-protocol"}
    post("/v1/toolgroups", {**group, "mcp_endpoint": {"uri": "http://127.0.0.1:9/mcp"}})
    return {
        "agent_id": agent,
        "session_id": session,
        "turn_id": turn["turn_id"],
        "step_id": turn["steps"][0]["step_id"],
        "file_id": upload["id"],
        "vector_db_id": bank["vector_db_id"],
        "bank_id": "docs",
        "vector_store_id": "docs",
        "batch_id": batch["id"],
        "response_id": post("/v1/responses", {"model": "m", "input": "Hi"})["id"],
        "completion_id": post("/v1/chat/completions", {"model": "m", "messages": [MESSAGE], "store": True})["id"],
        "conversation_id": conversation,
        "item_id": items[0]["id"],
        "prompt_id": "greeter",
        "model_id": "private",
        "identifier": "private",
        "toolgroup_id": "mcp::private",
    }


def seen_by(client: httpx.Client, method: str, path: str, ids: dict[str, str], last: str) -> tuple[int, str]:
    """The answer to one request, with the ids taken out."""
    filled = re.sub(r"\{(\w+)(?::path)?\}", lambda found: ids[found[1]], path)
    body = BODIES.get(last, {"file_id": ids["file_id"], "file_ids": [ids["file_id"]]}) if method == "post" else None
    body = BODIES.get(last) if method == "put" else body
    answer = client.request(method, filled, json=body)
    text = answer.text
    for value in sorted(ids.values(), key=len, reverse=True):
        text = text.replace(value, "ID")
    return answer.status_code, text


def test_every_route_with_an_id_answers_as_if_there_were_nothing(parties: Parties) -> None:
    document = parties.server.server.config.app.openapi()  # type: ignore[union-attr] # FastAPI's
    nobody = {name: f"zz{value}" for name, value in parties.ids.items()}
    tried = 0
    for path, methods in document["paths"].items():
        names = set(re.findall(r"\{(\w+)", path))
        if not names or names <= SHARED:
            continue
        last = path.rpartition("/")[2]
        for method in methods:
            tried += 1
            status, text = seen_by(parties.other, method, path, parties.ids, last)
            assert (status, text) == seen_by(parties.other, method, path, nobody, last), f"{method} {path}"
            told = status == 404 or (status == 400 and "detail" in text)  # Llama Stack's own status for it
            assert told, f"{method} {path}: {status} {text}"
    assert tried > 80
    for path, methods in document["paths"].items():
        names = set(re.findall(r"\{(\w+)", path))
        if names and not names <= SHARED and "get" in methods and not path.endswith(ELSEWHERE):
            status, text = seen_by(parties.owner, "get", path, parties.ids, path.rpartition("/")[2])
            assert status == 200, f"The owner's {path} is gone: {text}"


def test_lists_hold_ones_own_only(parties: Parties) -> None:
    for path in (
        *("/v1/agents", "/v1/files", "/v1/vector-dbs", "/v1/vector_stores", "/v1/memory_banks", "/v1/prompts"),
        *("/v1/models", "/v1/shields", "/v1/toolgroups", "/v1/responses", "/v1/chat/completions"),
    ):
        text = parties.other.get(path).text
        assert not [value for value in parties.ids.values() if f'"{value}"' in text], path
        assert [value for value in parties.ids.values() if f'"{value}"' in parties.owner.get(path).text], path


def test_ids_in_bodies_lead_nowhere(parties: Parties) -> None:
    ids = parties.ids
    search = [{"type": "file_search", "vector_store_ids": ["docs"]}]
    file = [{"role": "user", "content": [{"type": "input_file", "file_id": ids["file_id"]}]}]
    for body in (
        {"previous_response_id": ids["response_id"], "input": "Hi"},
        {"conversation": ids["conversation_id"], "input": "Hi"},
        {"prompt": {"id": "greeter"}, "input": "Hi"},
        {"tools": search, "input": "Hi"},
        {"input": file},
    ):
        assert parties.other.post("/v1/responses", json={"model": "m", **body}).status_code == 404, body
    query = {"vector_db_id": "docs", "query": "cat"}
    assert parties.other.post("/v1/vector-io/query", json=query).status_code in (400, 404)
    chunks = {"vector_db_id": "docs", "chunks": [{"content": "x", "metadata": {"document_id": "d"}}]}
    assert parties.other.post("/v1/vector-io/insert", json=chunks).status_code in (400, 404)
    rag = {"content": "cat", "vector_db_ids": ["docs"]}
    assert parties.other.post("/v1/tool-runtime/rag-tool/query", json=rag).status_code in (400, 404)
    chat = {"model": "private", "messages": [MESSAGE]}
    assert parties.other.post("/v1/chat/completions", json=chat).status_code == 404


def test_names_may_be_the_same(parties: Parties) -> None:
    parties.other.post("/v1/memory_banks", json={"memory_bank_id": "docs", "params": {"memory_bank_type": "keyword"}})
    try:
        document = {"document_id": "d", "content": "a dog", "metadata": {}, "mime_type": "text/plain"}
        stored = {"bank_id": "docs", "documents": [document]}
        assert parties.other.post("/v1/memory/insert", json=stored).status_code == 200
        found = [
            client.post("/v1/memory/query", json={"bank_id": "docs", "query": "dog cat"}).text
            for client in (parties.owner, parties.other)
        ]
        assert ["dog" in text for text in found] == [False, True]
        assert ["cat" in text for text in found] == [True, False]
    finally:
        assert parties.other.delete("/v1/vector-dbs/docs").status_code == 200
    assert "cat" in parties.owner.post("/v1/memory/query", json={"bank_id": "docs", "query": "cat"}).text


def test_a_tenant_only_searches_the_configurations_banks(parties: Parties) -> None:
    document = {"document_id": "d", "content": "a dog", "metadata": {}, "mime_type": "text/plain"}
    stored = {"bank_id": "shared", "documents": [document]}
    refused = parties.other.post("/v1/memory/insert", json=stored)
    assert refused.status_code == 400
    assert "searched only" in refused.text
    file = parties.owner.post("/v1/vector_stores/shared/files", json={"file_id": parties.ids["file_id"]})
    assert file.status_code == 400
    operator = made(parties.server, scopes=EVERYTHING)
    assert httpx.post(f"{parties.server.url}/v1/memory/insert", json=stored, headers=operator).status_code == 200
    assert "dog" in parties.other.post("/v1/memory/query", json={"bank_id": "shared", "query": "dog"}).text


def test_the_operator_cannot_form_a_tenants_names(parties: Parties) -> None:
    operator = made(parties.server, scopes=EVERYTHING)
    with httpx.Client(base_url=parties.server.url, headers=operator, timeout=20) as client:
        name = "tenant.acme.greeter"
        assert client.get(f"/v1/prompts/{name}").status_code == 404
        assert client.post("/v1/prompts", json={"prompt_id": name, "prompt": "Mine."}).status_code == 400
        assert client.delete(f"/v1/prompts/{name}").status_code in (400, 404)
        bank = {"memory_bank_id": "tenant.acme.docs", "params": {"memory_bank_type": "keyword"}}
        assert client.post("/v1/memory_banks", json=bank).status_code == 400
        assert client.get("/v1/prompts").json()["data"] == []
    assert parties.owner.get("/v1/prompts/greeter").json()["prompt"] == "Greet."


def test_a_running_turn_is_nobody_elses(parties: Parties) -> None:
    release = asyncio.Event()

    async def wait(_request: object) -> str:
        await release.wait()
        return "Hello"

    parties.server.server.services.stack.models["slow"] = ScriptedModel([wait])
    body = {"model": "slow", "input": "Hi", "background": True}
    run = parties.owner.post("/v1/responses", json=body).json()["id"]
    assert parties.other.post(f"/v1/responses/{run}/cancel").status_code == 404
    assert parties.other.get(f"/v1/responses/{run}", params={"stream": True}).status_code == 404
    parties.server.soon(release.set)
    parties.owner.get(f"/v1/responses/{run}", params={"stream": True})
    assert parties.owner.get(f"/v1/responses/{run}").json()["status"] == "completed"


def test_a_tenants_name_is_no_path(parties: Parties) -> None:
    for name in ("../acme", "acme/agent", "Acme", "acme "):
        with pytest.raises(InvalidInput):
            asyncio.run(keys_of(parties.server).add(tenant=name))
