"""`agentic doctor`: what it says, what it never says, and what it ends with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentic import keys
from agentic.cli import checks
from cli.script import Agentic
from servers.base import Answer, HangUp, Request, Server, StallAfter, Status

SECRET = "sk-very-secret"


class Lister(Server):
    """Lists its models as every kind of server does."""

    def __init__(self) -> None:
        super().__init__()
        self.body: Any = {"data": [{"id": "llama-a"}, {"identifier": "llama-b"}], "models": [{"name": "llama-c"}]}

    async def answer(self, request: Request, answer: Answer) -> None:
        await answer.start("application/json")
        await answer.send(self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode())
        await answer.end()


@pytest.fixture
def lister(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lister]:
    with Lister() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.origin}/v1/")
        monkeypatch.setenv("OPENAI_API_KEY", SECRET)
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{server.origin.rpartition(':')[2]}")
        monkeypatch.setenv("AGENTIC_MODEL", "openai/llama-a")
        yield server


def report(agentic: Agentic) -> Any:
    return json.loads(agentic("doctor", "--json").stdout)


def test_servers_that_answer_are_listed_with_their_models(lister: Lister, agentic: Agentic) -> None:
    found = {server["provider"]: server for server in report(agentic)["endpoints"]}
    assert {request.path for request in lister.requests} == {"/v1/models", "/api/tags"}
    assert found["openai"]["models"] == ["llama-a", "llama-b"]
    assert found["openai"]["url"] == f"{lister.origin}/v1"
    result = agentic("doctor")
    assert result.exit_code == 0
    assert f"ok openai at {lister.origin}/v1: llama-a, llama-b" in result.stdout
    assert f"openai/llama-a: {lister.origin}/v1 answers" in result.stdout


def test_keys_are_sent_to_their_server_and_never_shown(
    lister: Lister, agentic: Agentic, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = lister.origin.removeprefix("http://")
    monkeypatch.setenv("LLAMA_STACK_BASE_URL", f"http://user:{SECRET}@{host}/v1")
    plain, as_json = agentic("doctor"), agentic("doctor", "--json")
    assert {request.headers.get("authorization") for request in lister.requests if "/v1" in request.path} >= {
        f"Bearer {SECRET}"
    }
    assert SECRET not in plain.output + as_json.output
    assert "OPENAI_API_KEY is set" in plain.stdout
    assert json.loads(as_json.stdout)["keys"]["OPENAI_API_KEY"] is True
    assert json.loads(as_json.stdout)["keys"]["HF_TOKEN"] is False


def test_a_stored_key_counts_as_set(lister: Lister, agentic: Agentic) -> None:
    keys.store("MY_OWN_KEY", SECRET)
    result = agentic("doctor")
    assert "ok MY_OWN_KEY is set" in result.stdout
    assert SECRET not in result.output


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (HangUp(), "Error"),
        (Status(401), "it answered 401"),
        (Status(500), "it answered 500"),
        (StallAfter(0), "no answer within 0.2 s"),
    ],
)
def test_a_server_that_fails_makes_it_end_with_1(
    fault: Any, problem: str, lister: Lister, agentic: Agentic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "PROBE_SECONDS", 0.2)
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    lister.faults = [fault]
    result = agentic("doctor")
    assert result.exit_code == 1
    assert problem in result.stdout
    assert "name another model in AGENTIC_MODEL" in result.stdout


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"null", {"data": "no"}, {"data": [1, {"id": 2}, {}]}, b"\xff", b"x" * 3_000_000]
)
def test_a_listing_that_is_none_does_no_harm(body: Any, lister: Lister, agentic: Agentic) -> None:
    lister.body = body
    assert all(server["models"] == [] for server in report(agentic)["endpoints"])


def test_hostile_names_are_shown_tamely(lister: Lister, agentic: Agentic) -> None:
    lister.body = {"data": [{"id": "\x1b[31mred\nline"}]}
    output = agentic("doctor").stdout
    assert "\x1b" not in output
    assert ": red" in output


def test_an_endpoint_that_is_no_url(agentic: Agentic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "ftp://x")
    monkeypatch.setenv("RAW_BASE_URL", "http://[::1")
    output = agentic("doctor").stdout
    assert "OPENAI_BASE_URL holds no http(s) URL" in output
    assert "raw at ?" in output


def test_a_model_without_a_provider_says_what_to_do(agentic: Agentic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTIC_MODEL", "openai/x")
    result = agentic("doctor")
    assert result.exit_code == 1
    assert "OPENAI_BASE_URL" in result.stdout.splitlines()[-1]


def test_the_embedded_model_offline_and_absent(
    agentic: Agentic, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AGENTIC_CACHE_DIR", str(tmp_path / "cache"))
    online = report(agentic)
    assert online["local_models"] == []
    if all(online["extras"]["local"].values()):
        assert online["default"]["runs"]
        assert "fetched at its first use" in online["default"]["note"]
        monkeypatch.setenv("AGENTIC_OFFLINE", "1")
        assert "agentic models pull" in report(agentic)["default"]["problem"]


def test_folders(lister: Lister, agentic: Agentic, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AGENTIC_DATA_DIR", str(tmp_path / "file" / "below"))
    folders = report(agentic)["folders"]
    assert folders["config"] == {"path": str(tmp_path / "config"), "writable": True}
    assert folders["data"]["writable"] is False
    result = agentic("doctor")
    assert result.exit_code == 1
    assert "AGENTIC_DATA_DIR" in result.stdout
