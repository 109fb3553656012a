"""Who may ask the server, from where, and how much."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from agentic.config import ServerConfig
from agentic.server.patience import PatientProtocol
from agentic.server.serving import check
from agentic.types.errors import ConfigError

from .serving import served

TOKEN = "a-long-enough-token"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    settings = ServerConfig(port=0, max_body=4096, body_seconds=0.5, origins=["https://app.example.org"])
    with served(settings=settings) as server:
        yield server.url


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    with served(settings=ServerConfig(port=0, token=TOKEN)) as server:
        yield server.url


def test_a_page_that_calls_itself_something_else_is_refused(url: str) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "", "[::1", "localhost.", "x" * 300):
        refused = httpx.get(f"{url}/v1/models", headers={"host": host})
        assert refused.status_code == 403, host
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:8321", "[::1]:80"):
        assert httpx.get(f"{url}/v1/models", headers={"host": host}).status_code == 200, host


def test_pages_of_other_origins_are_refused(url: str) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        refused = httpx.get(f"{url}/v1/models", headers={"origin": origin})
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers
    own = httpx.get(f"{url}/v1/models", headers={"origin": url})
    assert own.status_code == 200
    assert "access-control-allow-origin" not in own.headers


def test_pages_of_an_allowed_origin_are_answered(url: str) -> None:
    origin = {"origin": "https://app.example.org"}
    assert httpx.get(f"{url}/v1/models", headers=origin).headers["access-control-allow-origin"] == origin["origin"]
    asked = {**origin, "access-control-request-method": "POST"}
    preflight = httpx.options(f"{url}/v1/agents", headers=asked)
    assert preflight.status_code == 204
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    wanted = {"access-control-request-headers": "authorization, x-llamastack-provider-data, x-stainless-lang"}
    preflight = httpx.options(f"{url}/v1/agents", headers=asked | wanted)
    assert preflight.headers["access-control-allow-headers"] == wanted["access-control-request-headers"]
    assert httpx.options(f"{url}/v1/agents", headers={**asked, "origin": "https://evil.example"}).status_code == 403


def test_only_json_is_taken(url: str) -> None:
    body = json.dumps({"agent_config": {"model": "m", "instructions": ""}})
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        refused = httpx.post(f"{url}/v1/agents", content=body, headers={"content-type": media_type})
        assert refused.status_code == 415, media_type
    taken = {"content-type": "application/json; charset=utf-8"}
    assert httpx.post(f"{url}/v1/agents", content=body, headers=taken).status_code == 200


DEEP = b'{"agent_config": {"model": "m", "instructions": "", "client_tools": [{"name": "t", "metadata": %b}]}}' % (
    b'{"a":' * 500 + b"1" + b"}" * 500
)
"""What can be read, and cannot be written."""


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"agent_config": 1}', b"[" * 4000, DEEP])
def test_what_is_no_request_is_refused_in_the_form_of_the_api(url: str, body: bytes) -> None:
    refused = httpx.post(f"{url}/v1/agents", content=body, headers={"content-type": "application/json"})
    assert refused.status_code == 400
    assert refused.json().get("detail") or refused.json()["error"]["detail"]["errors"]


def test_a_large_body_is_refused_before_it_is_read(url: str) -> None:
    headers = {"content-type": "application/json"}
    assert httpx.post(f"{url}/v1/agents", content=b" " * 5000, headers=headers).status_code == 413
    chunked = (b" " * 1000 for _ in range(10))
    assert httpx.post(f"{url}/v1/agents", content=chunked, headers=headers).status_code == 413
    parts = urlsplit(url)
    for length in (b"99999999999999999999", b"999999999"):
        with socket.create_connection((parts.hostname, parts.port), timeout=5) as raw:
            raw.sendall(
                b"POST /v1/agents HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                b"content-length: " + length + b"\r\n\r\n"
            )
            assert b" 413 " in raw.recv(100)


def test_a_body_that_drips_is_given_up(url: str) -> None:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as raw:
        raw.sendall(
            b"POST /v1/agents HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b'content-length: 100\r\n\r\n{"agent'
        )
        assert b" 408 " in raw.recv(100)


def test_a_head_that_drips_is_given_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PatientProtocol, "head_seconds", 0.3)
    parts = urlsplit(url)
    ok = b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\n\r\n"
    for first, begun in ((b"", b""), (b"", b"GET /v1/health HTTP/1.1\r\nhost: loc"), (ok, b"GET /v1/he")):
        with socket.create_connection((parts.hostname, parts.port), timeout=5) as raw:
            raw.sendall(first)
            answer = b""
            while first and not answer.endswith(b"}"):
                answer += raw.recv(1000)
            raw.sendall(begun)
            assert raw.recv(1000) == b""


def test_every_answer_has_a_trace_id(url: str) -> None:
    answers = [httpx.get(f"{url}/v1/health"), httpx.get(f"{url}/nowhere"), httpx.get(url, headers={"host": "x"})]
    assert [answer.status_code for answer in answers] == [200, 404, 403]
    assert len({answer.headers["x-trace-id"] for answer in answers}) == 3


def test_a_token_is_asked_for(guarded: str) -> None:
    for header in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9"):
        refused = httpx.get(f"{guarded}/v1/models", headers={b"authorization": header.encode("latin-1")})
        assert refused.status_code == 401, header
        assert refused.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in refused.text
    for header in (f"Bearer {TOKEN}", f"bearer  {TOKEN}"):
        assert httpx.get(f"{guarded}/v1/models", headers={"authorization": header}).status_code == 200
    assert httpx.get(f"{guarded}/v1/health").status_code == 200
    named = {"host": "agents.example.org", "authorization": f"Bearer {TOKEN}"}
    assert httpx.get(f"{guarded}/v1/models", headers=named).status_code == 200


def test_a_server_for_others_needs_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    check(ServerConfig())
    check(ServerConfig(host="::1"))
    for host in ("0.0.0.0", "192.0.2.1", "::", ""):
        with pytest.raises(ConfigError, match="open to everybody"):
            check(ServerConfig(host=host))
        check(ServerConfig(host=host, token=TOKEN))
    monkeypatch.setenv("AGENTIC_SERVER_TOKEN", TOKEN)
    check(ServerConfig(host="0.0.0.0"))
    assert TOKEN not in repr(ServerConfig(token=TOKEN))


def test_a_number_that_is_none_breaks_nothing(url: str) -> None:
    bodies = {
        "/v1/models": '{"model_id": "n", "provider_id": "openai", "metadata": {"x": NaN}}',
        "/v1/toolgroups": '{"toolgroup_id": "n", "mcp_endpoint": {"uri": "http://h/"}, "args": {"x": Infinity}}',
        "/v1/shields": '{"shield_id": "n", "provider_shield_id": "pii", "params": {"x": -Infinity}}',
        "/v1/agents": '{"agent_config": {"model": "m", "instructions": "", "client_tools": [{"name": "t", "metadata":'
        ' {"x": NaN}}]}}',
    }
    with httpx.Client(base_url=url, headers={"content-type": "application/json"}) as client:
        for path, body in bodies.items():
            assert client.post(path, content=body).status_code == 200, path
            assert client.get(path).status_code == 200, path
        assert client.delete("/v1/toolgroups/n").json() is None
        agent = '{"agent_config": {"model": "m", "instructions": "", "sampling_params": {"strategy": {"type": "top_p",'
        refused = client.post("/v1/agents", content=agent + ' "temperature": NaN}}}}')
        assert refused.status_code == 400


def test_half_a_surrogate_pair_breaks_nothing(url: str) -> None:
    bad = "\\ud800"
    bodies = {
        "/v1/models": f'{{"model_id": "{bad}", "provider_id": "openai"}}',
        "/v1/toolgroups": f'{{"toolgroup_id": "{bad}", "mcp_endpoint": {{"uri": "http://127.0.0.1/"}}}}',
        "/v1/shields": f'{{"shield_id": "{bad}", "provider_shield_id": "pii"}}',
        "/v1/vector-dbs": f'{{"vector_db_id": "{bad}", "embedding_model": "{bad}"}}',
        "/v1/memory_banks": f'{{"name": "{bad}", "config": {{"type": "keyword"}}}}',
        "/v1/inference/chat-completion": f'{{"model_id": "{bad}", "messages": []}}',
        "/v1/tool-runtime/invoke": f'{{"tool_name": "{bad}", "kwargs": {{}}}}',
        "/v1/agents": f'{{"agent_config": {{"{bad}": 1, "model": "{bad}", "instructions": {{"{bad}": 1}}}}}}',
    }
    for path, body in bodies.items():
        refused = httpx.post(f"{url}{path}", content=body, headers={"content-type": "application/json"})
        assert refused.status_code == 400, path
