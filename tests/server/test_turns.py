"""The server owns the turn: readers come and go, processes end and start again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentic import Tool, keys
from agentic.config import Config
from agentic.server import turns
from agentic.stack import Stack
from agentic.testing import Reply, ScriptedModel
from agentic.types.errors import AuthenticationFailed, ContextOverflow, RateLimited
from agentic.types.sampling import InferenceRequest
from agentic.types.tools import ToolCall

from .serving import MODEL, Served, served

HELLO = [{"role": "user", "content": "Hello"}]
BOIL = {
    "name": "boil",
    "description": "Boils.",
    "parameters": [{"name": "what", "parameter_type": "string", "description": "What", "required": True}],
}


@dataclass
class Talk:
    """A session of a new agent, over HTTP."""

    server: Served
    client: httpx.Client
    agent: str
    session: str

    @classmethod
    def of(cls, server: Served, client: httpx.Client, **config: Any) -> Talk:
        given = {"model": MODEL, "instructions": "", **config}
        agent = client.post("/v1/agents", json={"agent_config": given}).json()["agent_id"]
        session = client.post(f"/v1/agents/{agent}/session", json={"session_name": "s"}).json()["session_id"]
        return cls(server, client, agent, f"/v1/agents/{agent}/session/{session}")

    def turn(self, messages: Any = HELLO, **more: Any) -> httpx.Response:
        return self.client.post(f"{self.session}/turn", json={"messages": messages, **more})

    def resume(self, turn_id: str, *responses: Any, **more: Any) -> httpx.Response:
        return self.client.post(f"{self.session}/turn/{turn_id}/resume", json={"tool_responses": responses, **more})

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(f"{self.session}/{path}", **options)


@contextmanager
def talk(
    replies: Sequence[Reply], *, store: Path | None = None, config: dict[str, Any] | None = None, **objects: Any
) -> Iterator[Talk]:
    stack = Stack(Config(store=str(store) if store else None), models={MODEL: ScriptedModel(replies)}, **objects)
    with served(stack) as server, httpx.Client(base_url=server.url, timeout=20) as client:
        yield Talk.of(server, client, **(config or {}))


class Held:
    """A model's answer that waits until the test lets it go on."""

    def __init__(self) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self, request: InferenceRequest) -> Reply:
        self.asked.set()
        await self.go.wait()
        return "Held back."


def payloads(text: str) -> list[Any]:
    return [json.loads(line[6:])["event"]["payload"] for line in text.splitlines() if line.startswith("data: ")]


def test_a_client_that_goes_away_loses_nothing() -> None:
    held = Held()
    with talk([held]) as it:
        with it.client.stream("POST", f"{it.session}/turn", json={"messages": HELLO, "stream": True}) as answer:
            lines = answer.iter_lines()
            assert json.loads(next(lines)[6:])["event"]["payload"]["event_type"] == "step_start"
            turn_id = answer.headers["x-turn-id"]
        running = it.get(f"turn/{turn_id}").json()
        assert (running["completed_at"], running["steps"]) == (None, [])
        assert running["output_message"]["stop_reason"] == "end_of_message"
        it.server.soon(held.go.set)
        ended = it.get(f"turn/{turn_id}", params={"wait": 10}).json()
        assert ended["output_message"]["content"] == "Held back."
        assert it.get("turns").json()["data"] == [ended]
        rest = it.get(f"turn/{turn_id}/events", headers={"last-event-id": "1"})
        assert [line for line in rest.text.splitlines() if line.startswith("id: ")] == ["id: 2", "id: 3", "id: 4"]
        kinds = [payload["event_type"] for payload in payloads(rest.text)]
        assert kinds == ["step_progress", "step_complete", "turn_complete"]


def test_what_ended_turns_have_shown_is_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "KEPT_BYTES", 10_000)
    with talk(["x" * 4000, "y" * 4000]) as it:
        first, second = (it.turn().json()["turn_id"] for _ in range(2))
        numbered = [it.get(f"turn/{turn_id}/events").text.count("id: ") for turn_id in (first, second)]
        assert numbered == [0, 0]  # both are larger than that by themselves
        monkeypatch.setattr(turns, "KEPT_BYTES", 30_000)
    with talk(["x" * 4000, "y" * 4000]) as it:
        first, second = (it.turn().json()["turn_id"] for _ in range(2))
        assert [it.get(f"turn/{turn_id}/events").text.count("id: ") for turn_id in (first, second)] == [0, 4]


def test_a_running_turn_is_cancelled_and_another_one_refused() -> None:
    held = Held()
    with talk([held, "Next."]) as it:
        with it.client.stream("POST", f"{it.session}/turn", json={"messages": HELLO, "stream": True}) as answer:
            turn_id = answer.headers["x-turn-id"]
            busy = it.turn()
            assert busy.status_code == 409
            assert "A turn runs in session" in busy.json()["detail"]
            cancelled = it.client.post(f"{it.session}/turn/{turn_id}/cancel").json()
            assert cancelled["output_message"]["stop_reason"] == "out_of_tokens"
            answer.read()
            assert payloads(answer.text)[-1]["event_type"] == "turn_complete"
        assert it.turn().json()["output_message"]["content"] == "Next."


def test_an_agent_is_deleted_while_a_turn_runs() -> None:
    held = Held()
    with talk([held]) as it:
        with it.client.stream("POST", f"{it.session}/turn", json={"messages": HELLO, "stream": True}) as answer:
            assert it.client.delete(f"/v1/agents/{it.agent}").json() is None
            answer.read()
        assert it.client.get("/v1/agents").json()["data"] == []


def test_readers_of_a_growing_session_all_see_the_same() -> None:
    with talk(["One.", "Two.", "Three."]) as it:
        for count in (1, 2, 3):
            it.turn()
            with ThreadPoolExecutor(8) as pool:
                found = list(pool.map(lambda _: it.get("turns").json()["data"], range(16)))
            assert all(turns == found[0] for turns in found)
            assert len(found[0]) == count


def test_a_session_is_deleted_while_a_turn_runs() -> None:
    held = Held()
    with talk([held]) as it:
        with it.client.stream("POST", f"{it.session}/turn", json={"messages": HELLO, "stream": True}) as answer:
            assert it.client.delete(it.session).json() is None
            answer.read()
        assert it.client.get(it.session).status_code == 400
        assert it.client.get(f"/v1/agents/{it.agent}/sessions").json()["data"] == []


def test_a_server_that_ends_lets_the_turn_end() -> None:
    held = Held()
    body = {"messages": HELLO, "stream": True}
    with talk([held]) as it, it.client.stream("POST", f"{it.session}/turn", json=body) as answer:
        assert answer.headers["x-turn-id"]
        it.server.server.should_exit = True
        it.server.soon(held.go.set)
        answer.read()
        assert payloads(answer.text)[-1]["turn"]["output_message"]["content"] == "Held back."


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    store = tmp_path / "sessions.db"
    call = ToolCall("boil", {"what": "tea"}, "c1")
    with talk(["One.", call], store=store, config={"client_tools": [BOIL], "name": "cook"}) as it:
        it.turn()
        waiting = it.turn().json()
        assert waiting["output_message"]["stop_reason"] == "end_of_message"
        agent, session = it.agent, it.session
        before = it.client.get(session).json()
    stack = Stack(Config(store=str(store)), models={MODEL: ScriptedModel(["It boils."])})
    with served(stack) as server, httpx.Client(base_url=server.url, timeout=20) as client:
        assert client.get(f"/v1/agents/{agent}").json()["agent_config"]["name"] == "cook"
        (listed,) = client.get(f"/v1/agents/{agent}/sessions").json()["data"]
        assert listed["session_name"] == "s"
        assert client.get(session).json() == before
        again = Talk(server, client, agent, session)
        told = again.get(f"turn/{waiting['turn_id']}/events").text
        assert [payload["event_type"] for payload in payloads(told)] == ["turn_awaiting_input"]
        response = {"call_id": "c1", "tool_name": "boil", "content": "100"}
        ended = again.resume(waiting["turn_id"], response).json()
        assert ended["turn_id"] == waiting["turn_id"]
        assert ended["output_message"]["content"] == "It boils."
        assert client.delete(f"/v1/agents/{agent}").json() is None
        assert client.get(session).status_code == 400


def test_the_stream_of_a_resumed_turn_goes_on_from_before() -> None:
    call = ToolCall("boil", {"what": "tea"}, "c1")
    with talk([call, "It boils."], config={"client_tools": [BOIL]}) as it:
        first = payloads(it.turn(stream=True).text)
        turn_id = first[-1]["turn"]["turn_id"]
        second = payloads(
            it.resume(turn_id, {"call_id": "c1", "tool_name": "boil", "content": "100"}, stream=True).text
        )
        assert second[0]["step_type"] == "tool_execution"
        assert payloads(it.get(f"turn/{turn_id}/events").text) == first + second


def test_results_may_come_as_messages_of_the_role_ipython() -> None:
    call = ToolCall("boil", {"what": "tea"}, "c1")
    with talk([call, "It boils."], config={"client_tools": [BOIL]}) as it:
        waiting = it.turn().json()
        ended = it.turn([{"role": "ipython", "call_id": "c1", "tool_name": "boil", "content": "100"}]).json()
        assert ended["turn_id"] == waiting["turn_id"]
        assert ended["output_message"]["content"] == "It boils."


def test_old_clients_are_told_that_a_turn_starts() -> None:
    versions = {
        "0.1.5": "turn_start",
        "0.0.63": "turn_start",
        "0.1.6": "step_start",
        "0.1.10": "step_start",
        "": "step_start",
    }
    with talk(["Hi."] * len(versions)) as it:
        for version, first in versions.items():
            it.client.headers["x-llamastack-client-version"] = version
            assert payloads(it.turn(stream=True).text)[0]["event_type"] == first


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AuthenticationFailed("The key is wrong."), 502),
        (ContextOverflow("Too long."), 400),
        (RateLimited("Slow down.", retry_after=400), 429),
        (KeyError("secret"), 500),
    ],
)
def test_a_turn_that_fails_is_kept_and_the_answer_says_why(error: Exception, status: int) -> None:
    with talk([error]) as it:
        failed = it.turn()
        assert failed.headers["x-trace-id"]
        assert failed.status_code == status
        assert "secret" not in failed.text
        if status == 429:
            assert failed.headers["retry-after"] == "400"
        (kept,) = it.get("turns").json()["data"]
        assert kept["error"]["type"] == type(error).__name__


def test_keys_of_a_request_serve_that_request_only(tmp_path: Path) -> None:
    found: list[str | None] = []

    def look() -> str:
        """Looks for a key."""
        found.append(keys.find("TAVILY_API_KEY"))
        return "done"

    calls: list[Reply] = [ToolCall("look", {}, "a"), "One.", ToolCall("look", {}, "b"), "Two."]
    store = tmp_path / "sessions.db"
    with talk(calls, store=store, toolgroups={"test::look": [Tool(look)]}, config={"toolgroups": ["test::look"]}) as it:
        data = json.dumps({"tavily_search_api_key": "tvly-only-here", "other": 1})
        it.client.post(
            f"{it.session}/turn", json={"messages": HELLO}, headers={"x-llamastack-provider-data": data}
        ).raise_for_status()
        it.turn().raise_for_status()
        bad = it.client.post(
            f"{it.session}/turn", json={"messages": HELLO}, headers={"x-llamastack-provider-data": "[1]"}
        )
        assert bad.status_code == 400
    assert found == ["tvly-only-here", None]
    assert all(b"tvly-only-here" not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_a_call_that_needs_approval_waits_for_a_clear_yes() -> None:
    def order(what: str) -> str:
        """Orders something."""
        return f"Ordered {what}."

    tool = Tool(order, approve=True)
    call = [ToolCall("order", {"what": "tea"}, "a")]
    replies: list[Reply] = [call, "Ordered.", call, "Not ordered."]
    with talk(replies, toolgroups={"test::order": [tool]}, config={"toolgroups": ["test::order"]}) as it:
        refused = it.client.post("/v1/tool-runtime/invoke", json={"tool_name": "order", "kwargs": {"what": "tea"}})
        assert "needs an approval" in refused.json()["detail"]
        results = []
        for decision in ({"metadata": {"decision": "approve"}}, {}):
            waiting = it.turn().json()
            response = {"call_id": waiting["output_message"]["tool_calls"][0]["call_id"], "content": "no", **decision}
            ended = it.resume(waiting["turn_id"], response).json()
            results.append(ended["steps"][1]["tool_responses"][0]["content"])
    assert results[0] == "Ordered tea."
    assert "did not allow" in results[1]


def test_a_new_message_gives_up_the_turn_that_waits() -> None:
    call = ToolCall("boil", {"what": "tea"}, "c1")
    with talk([call, "Never mind."], config={"client_tools": [BOIL]}) as it:
        waiting = it.turn().json()["turn_id"]
        assert it.turn().json()["output_message"]["content"] == "Never mind."
        late = it.resume(waiting, {"call_id": "c1", "tool_name": "boil", "content": "100"})
        assert "is not the last one" in late.json()["detail"]
        assert len(it.get("turns").json()["data"]) == 2


def test_results_that_come_again_are_answered_with_the_turn_that_has_them() -> None:
    call = ToolCall("boil", {"what": "tea"}, "c1")
    response = {"call_id": "c1", "tool_name": "boil", "content": "100"}
    with talk([call, "It boils."], config={"client_tools": [BOIL]}) as it:
        turn_id = it.turn().json()["turn_id"]
        first = it.resume(turn_id, response).json()
        assert it.resume(turn_id, response).json() == first
        (last,) = payloads(it.resume(turn_id, response, stream=True).text)
        assert (last["event_type"], last["turn"]) == ("turn_complete", first)


def test_what_makes_no_sense_is_refused() -> None:
    call = ToolCall("boil", {"what": "tea"}, "c1")
    with talk(["One.", call], config={"client_tools": [BOIL]}) as it:
        first = it.turn().json()["turn_id"]
        waiting = it.turn().json()["turn_id"]
        response = {"call_id": "c9", "tool_name": "boil", "content": "100"}
        cases = {
            "is not the last one": it.resume(first, response),
            "No call waits under 'c9'": it.resume(waiting, response),
            "not found": it.resume("none", response),
            "has no step": it.get(f"turn/{first}/step/none"),
            "is empty": it.client.post(f"{it.session}/turn", json={"messages": []}),
            "Last-Event-ID is the number": it.get(f"turn/{first}/events", headers={"last-event-id": "x"}),
        }
        for words, answer in cases.items():
            assert answer.status_code == 400, words
            assert words in answer.json()["detail"]
        half = it.turn([{"role": "user", "content": "x"}], documents=[{"content": "x", "mime_type": "image/png"}])
        assert "is text" in half.json()["detail"]
