"""What comes in `X-LlamaStack-Provider-Data` serves that request and no other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from llama_stack_client import AuthenticationError, LlamaStackClient
from llama_stack_client.lib.agents.agent import Agent

from agentic.config import Config
from agentic.stack import Stack
from agentic.testing import ScriptedModel
from agentic.types.tools import ToolCall
from agentic_tools import websearch
from servers.mcp_events import greeting
from servers.tavily import TavilyServer

from .serving import MODEL, served

GROUP = "remote::our/greetings of today"
HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize("lines", [False, True])
def test_headers_for_an_mcp_server(tmp_path: Path, *, lines: bool) -> None:
    replies = [[ToolCall("greet", {"name": "Ann"}, call)] if call else "Done." for call in ("a", "", "b", "")]
    stack = Stack(Config(store=str(tmp_path / "s.db"), toolgroups=[]), models={MODEL: ScriptedModel(replies)})
    with (
        greeting("mcp-s3cret") as url,
        served(stack) as server,
        LlamaStackClient(base_url=server.url, max_retries=0) as client,
    ):
        client.toolgroups.register(toolgroup_id=GROUP, provider_id="mcp", mcp_endpoint={"uri": url})
        chosen: Any
        for chosen in ({"toolgroup_id": GROUP}, {}):
            with pytest.raises(AuthenticationError, match="Unauthorized"):
                client.tools.list(**chosen)
        sent: Any = ["Authorization: Bearer mcp-s3cret"] if lines else {"Authorization": "Bearer mcp-s3cret"}
        data = {"x-llamastack-provider-data": json.dumps({"mcp_headers": {url: sent, f"{url}/other": {"a": "b"}}})}
        assert [tool.identifier for tool in client.tools.list(toolgroup_id=GROUP, extra_headers=data)] == ["greet"]
        agent = Agent(client, model=MODEL, instructions="", tools=[GROUP])
        session = agent.create_session("s")
        turn: Any = agent.create_turn(HELLO, session, stream=False, extra_headers=data)
        assert [(item.type, item.text) for item in turn.steps[1].tool_responses[0].content] == [("text", "Hello, Ann.")]
        turn = agent.create_turn(HELLO, session, stream=False)
        assert "HTTP 401 Unauthorized" in turn.steps[1].tool_responses[0].content
        invoked: Any = client.tool_runtime.invoke_tool(tool_name="greet", kwargs={"name": "Bo"}, extra_headers=data)
        assert invoked.content[0].text == "Hello, Bo."
    assert all(b"mcp-s3cret" not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    "headers",
    [
        3,
        {"u": 3},
        {"u": {"Host": "x"}},
        {"u": {"a b": "x"}},
        {"u": {"A": "x\r\nB: y"}},
        {"u": {"A": 3}},
        {"u": [3]},
    ],
)
def test_headers_that_cannot_be_sent(headers: Any) -> None:
    with served() as server:
        data = {"x-llamastack-provider-data": json.dumps({"mcp_headers": headers})}
        refused = httpx.get(f"{server.url}/v1/tools", headers=data)
        assert refused.status_code == 400
        assert "mcp_headers" in refused.json()["detail"]


def test_a_service_whose_key_only_clients_have(monkeypatch: pytest.MonkeyPatch) -> None:
    with TavilyServer() as service, served() as server:
        provider = replace(websearch._PROVIDERS["tavily"], endpoint=service.url)
        monkeypatch.setitem(websearch._PROVIDERS, "tavily", provider)
        keyed = {"tavily_search_api_key": service.key}
        for data in (keyed, {}, keyed):
            with LlamaStackClient(base_url=server.url, max_retries=0, provider_data=data) as client:
                listed = client.tools.list(toolgroup_id="builtin::websearch")
                assert [tool.identifier for tool in listed] == ["web_search"]
                found: Any = client.tool_runtime.invoke_tool(tool_name="web_search", kwargs={"query": "Lisbon"})
                assert (found.error_message is None) == bool(data)
                assert ("capital of Portugal" if data else "needs a key") in found.content
        assert httpx.get(f"{server.url}/v1/tools?toolgroup_id=builtin::wolfram_alpha").status_code == 200
