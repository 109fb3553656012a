"""Keys: who may ask, what each may do, and how much."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from click.testing import CliRunner, Result

from agentic.cli.app import app
from agentic.config import Config, ServerConfig
from agentic.portal import run_sync
from agentic.server.access import SCOPES, Keys, scope_of
from agentic.server.limits import Limits
from agentic.server.serving import Server
from agentic.stack import Stack
from agentic.store.documents import MemoryDocuments
from agentic.testing import ScriptedModel
from agentic.types.errors import ConfigError, InvalidInput, NotFound

from ..serving import Served, served


def keys_of(server: Served) -> Keys:
    keys: Keys = server.server.config.app.state.keys  # type: ignore[union-attr] # FastAPI's
    return keys


def made(server: Served, **options: Any) -> dict[str, str]:
    """A new key as the header that carries it."""
    future = asyncio.run_coroutine_threadsafe(keys_of(server).add(**options), server.loop)
    return {"authorization": f"Bearer {future.result(10)[1]}"}


@pytest.fixture
def server() -> Iterator[Served]:
    settings = ServerConfig(port=0, drain_seconds=5)
    with served(models={"m": ScriptedModel(["Hello"] * 20)}, settings=settings) as one:
        yield one


def test_a_key_is_stored_as_its_hash_only() -> None:
    async def run() -> None:
        documents = MemoryDocuments()
        keys = Keys(documents)
        assert not await keys.demanded()
        key, text = await keys.add("ci", tenant="acme", rate=5)
        stored = json.dumps([dict(found.body) for found in await documents.all("server key")])
        secret = text.split("_", 2)[2]
        assert len(secret) >= 43
        assert secret not in stored
        assert text not in repr(key)
        assert await keys.demanded()
        assert await keys.holder(f"Bearer {text}") == key
        for wrong in ("", f"{text}x", text[:-1], f"ak_{key.key_id}_", f"ak_{key.key_id}", "ak_", "token"):
            assert await keys.holder(f"Bearer {wrong}") is None, wrong
        assert await keys.holder(f"Basic {text}") is None
        assert await keys.holder("") is None
        await keys.remove(key.key_id)
        assert await keys.holder(f"Bearer {text}") is None
        assert await keys.demanded(), "A server that demanded a key does not open when the last one is removed."
        with pytest.raises(NotFound):
            await keys.remove(key.key_id)

    asyncio.run(run())


@pytest.mark.parametrize(
    "options", [{"tenant": "A"}, {"tenant": "a/b"}, {"tenant": "a."}, {"scopes": ["all"]}, {"scopes": []}, {"rate": 0}]
)
def test_what_no_key_can_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        asyncio.run(Keys(MemoryDocuments()).add(**options))


def test_every_worker_knows_a_key_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        documents = MemoryDocuments()
        mine, theirs = Keys(documents), Keys(documents)
        assert await theirs.holder("Bearer x") is None
        key, text = await mine.add()
        monkeypatch.setattr("agentic.server.access.FRESH", 0)
        assert await theirs.holder(f"Bearer {text}") == key
        await mine.remove(key.key_id)
        assert await theirs.holder(f"Bearer {text}") is None

    asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/models", None),
        ("GET", "/v1/openai/v1/models/x", None),
        ("GET", "/v1/health", None),
        ("GET", "/openapi.json", None),
        ("POST", "/v1/models", "admin"),
        ("DELETE", "/v1/toolgroups/x", "admin"),
        ("POST", "/v1/openai/v1/chat/completions", "inference"),
        ("POST", "/v1/inference/chat-completion", "inference"),
        ("POST", "/v1/agents", "agents"),
        ("GET", "/v1/files/x", "agents"),
        ("POST", "/v1/responses", "agents"),
        ("POST", "/v1//inference/completion", "inference"),
        ("GET", "/metrics", "metrics"),
        ("GET", "/metrics/", "metrics"),
        ("GET", "/", "agents"),
    ],
)
def test_the_scope_of_a_request(method: str, path: str, scope: str | None) -> None:
    assert scope_of(method, path) == scope


def test_a_server_is_open_until_there_is_a_key(server: Served) -> None:
    agents = f"{server.url}/v1/agents"
    assert httpx.get(agents).status_code == 200
    key = made(server)
    refused = httpx.get(agents)
    assert refused.status_code == 401
    assert refused.json()["detail"] == refused.json()["error"]["message"]
    assert httpx.get(agents, headers=key).status_code == 200
    assert httpx.get(f"{server.url}/v1/health").status_code == 200


def test_a_key_may_do_what_its_scopes_say(server: Served) -> None:
    asking = {name: made(server, scopes=[name]) for name in SCOPES}
    chat = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    model = {"model_id": "n", "provider_id": "openai", "provider_model_id": "n"}
    requests: dict[str, tuple[str, str, Any]] = {
        "inference": ("POST", "/v1/chat/completions", chat),
        "agents": ("GET", "/v1/agents", None),
        "admin": ("POST", "/v1/models", model),
        "metrics": ("GET", "/metrics", None),
    }
    for name, (method, path, body) in requests.items():
        for scope, key in asking.items():
            answer = httpx.request(method, server.url + path, json=body, headers=key)
            assert answer.status_code == (200 if scope == name else 403), (name, scope, answer.text)


def test_the_limits_of_a_key_in_both_forms(server: Served) -> None:
    key = made(server, rate=2)
    answers = [httpx.get(f"{server.url}/v1/agents", headers=key) for _ in range(3)]
    assert [one.status_code for one in answers] == [200, 200, 429]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 30
    assert "2 times a minute" in answers[2].json()["detail"]
    other = made(server)
    assert httpx.get(f"{server.url}/v1/agents", headers=other).status_code == 200
    token = key["authorization"].removeprefix("Bearer ")
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key=token, max_retries=0) as client,
        pytest.raises(openai.RateLimitError, match="times a minute") as raised,
    ):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
    assert raised.value.code == "rate_limit_exceeded"


def test_a_bucket_fills_again() -> None:
    now = 0.0
    key, _ = asyncio.run(Keys(MemoryDocuments()).add(rate=60, concurrency=2))
    limits = Limits(clock=lambda: now)
    for _ in range(60):
        assert limits.enter(key) is None
        limits.leave(key)
    assert limits.enter(key) == ("This key may ask 60 times a minute.", 1)
    now = 2.0
    assert limits.enter(key) is None
    assert limits.enter(key) is None
    busy = limits.enter(key)
    assert busy is not None
    assert "at a time" in busy[0]
    limits.leave(key)
    now = 3.0
    assert limits.enter(key) is None


def test_requests_at_a_time(server: Served) -> None:
    key = made(server, concurrency=1)
    slow = asyncio.Event()

    async def wait(_request: object) -> str:
        await slow.wait()
        return "Hello"

    server.server.services.stack.models["slow"] = ScriptedModel([wait])
    body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    with httpx.stream("POST", f"{server.url}/v1/inference/chat-completion", json=_llama(body), headers=key) as first:
        assert first.status_code == 200
        late = httpx.get(f"{server.url}/v1/agents", headers=key)
        assert late.status_code == 429
        assert late.headers["retry-after"] == "1"
        server.soon(slow.set)
        first.read()
    assert httpx.get(f"{server.url}/v1/agents", headers=key).status_code == 200


def _llama(body: dict[str, Any]) -> dict[str, Any]:
    return {"model_id": body["model"], "stream": body["stream"], "messages": body["messages"]}


def test_another_address_demands_a_key(tmp_path: Path) -> None:
    where = str(tmp_path / "s.db")
    stack = Stack(Config(store=where, server=ServerConfig(host="0.0.0.0", port=0)))
    with pytest.raises(ConfigError, match="server-keys add"):
        Server(stack)

    async def add() -> None:
        server = Stack(Config(store=where))
        from agentic.store import open_store

        store = open_store(server.config.store)
        await Keys(store.documents).add()  # type: ignore[attr-defined] # an SQL store has them
        await store.aclose()

    run_sync(add())
    run_sync(Server(stack).tenants.aclose())


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.yaml").write_text("store: sessions.db\n")

    monkeypatch.chdir(tmp_path)

    def ran(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["server-keys", *arguments])

    text = ran("add", "ci", "--tenant", "acme", "--scope", "agents").stdout.strip()
    assert text.startswith("ak_")
    listed = ran("ls", "--json")
    (one,) = json.loads(listed.stdout)
    assert (one["tenant"], one["scopes"], one["label"]) == ("acme", ["agents"], "ci")
    assert text.split("_", 2)[2] not in listed.stdout
    assert all(text.split("_", 2)[2].encode() not in file.read_bytes() for file in tmp_path.glob("sessions.db*"))
    assert ran("rm", one["id"]).exit_code == 0
    assert "no keys" in ran("ls").stderr
    assert ran("add", "--scope", "everything").exit_code == 2
