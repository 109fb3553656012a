"""What is seen from outside: metrics, log lines, spans. No secret and nothing that was said is in any of them."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agentic import Tool
from agentic.config import Config, ServerConfig
from agentic.protocols import ToolContext
from agentic.server.metrics import MOST_NAMES, Metrics
from agentic.server.spans import Spans, wanted
from agentic.server.watch import log_to
from agentic.stack import Stack
from agentic.testing import ScriptedModel
from agentic.types.errors import RequestRejected
from agentic.types.tools import ToolCall

from ..serving import Served, served
from .test_keys import made

SECRETS = [f"sk-secret-number-{number}" for number in range(8)]
HEADER = "x-llamastack-provider-data"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Everything that is logged meanwhile, as the command logs it."""
    loggers = [logging.getLogger(name) for name in ("agentic.server", "uvicorn.error")]
    before = [(logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    stream = io.StringIO()
    log_to(stream)
    yield stream
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def parsed(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def look(place: str) -> str:
    """Looks somewhere."""
    return f"Nothing in {place}."


@contextmanager
def calling(*replies: Any, config: Config | None = None, tools: Sequence[Tool] = ()) -> Iterator[Served]:
    script = replies or (ToolCall("look", {"place": "a box"}, "c1"), "Nothing there.")
    stack = Stack(
        config or Config(store=None),
        models={"test/m": ScriptedModel(script, model="test/m")},
        toolgroups={"eyes": [Tool(look), *tools]},
    )
    with served(stack, settings=ServerConfig(port=0, drain_seconds=5)) as server:
        yield server


def begun(client: httpx.Client, **more: Any) -> str:
    config = {"model": "test/m", "instructions": "", "toolgroups": ["eyes"], **more}
    agent = client.post("/v1/agents", json={"agent_config": config}).json()["agent_id"]
    session = client.post(f"/v1/agents/{agent}/session", json={"session_name": "s"}).json()["session_id"]
    return f"/v1/agents/{agent}/session/{session}"


def turn(client: httpx.Client, text: str = "Look.", **headers: str) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": text}], "stream": True}
    return client.post(f"{begun(client)}/turn", json=body, headers=headers)


def test_what_prometheus_reads() -> None:
    with calling() as server, httpx.Client(base_url=server.url) as client:
        assert turn(client).status_code == 200
        assert client.get("/nowhere/at/all").status_code == 404
        text = client.get("/metrics").text
    path = "/v1/agents/{agent_id}/session/{session_id}/turn"
    for line in (
        f'agentic_requests_total{{method="POST",route="{path}",status="200"}} 1.0',
        'agentic_requests_total{method="GET",route="none",status="404"} 1.0',
        'agentic_turns_total{reason="end_of_turn"} 1.0',
        'agentic_inferences_total{model="test/m",outcome="ok"} 2.0',
        'agentic_tool_calls_total{status="ok",tool="look"} 1.0',
        "agentic_turns_running 0.0",
        "agentic_requests_open 1.0",
    ):
        assert line in text, text


def test_names_that_clients_make_up_do_not_fill_the_memory() -> None:
    metrics = Metrics()
    for number in range(MOST_NAMES + 50):
        metrics.request("BREW", "none", 404, 0.1)
        metrics._name("tool", f"tool-{number}")
    assert metrics._name("tool", "another") == "other"
    assert metrics._name("tool", "tool-3") == "tool-3"
    assert b'method="other"' in metrics.text()


def test_lines_hold_ids_that_belong_together(lines: io.StringIO) -> None:
    with calling() as server, httpx.Client(base_url=server.url) as client:
        answer = turn(client)
    found = parsed(lines)
    (started,) = [one for one in found if one["message"] == "turn started"]
    (ended,) = [one for one in found if one["message"] == "turn ended"]
    (asked,) = [one for one in found if one.get("path", "").endswith("/turn")]
    trace = answer.headers["x-trace-id"]
    assert {started["request_id"], ended["request_id"], asked["request_id"]} == {trace}
    assert {started["turn_id"], ended["turn_id"], asked["turn_id"]} == {answer.headers["x-turn-id"]}
    assert (ended["reason"], asked["status"], asked["method"]) == ("end_of_turn", 200, "POST")


def test_no_line_and_no_file_holds_a_secret(lines: io.StringIO, tmp_path: Path) -> None:
    """Keys come in every place where one may come; one of them is even in an error that nobody expected."""

    def leak(_request: object) -> str:
        raise RuntimeError(f"cannot use {SECRETS[0]}")

    used: list[str] = []

    def read_key(context: ToolContext) -> str:
        """Uses a key that came with the request."""
        used.append(context.secrets["TAVILY_API_KEY"])
        return "done"

    data = json.dumps({"tavily_search_api_key": SECRETS[1], "other_api_key": SECRETS[2]})
    script = [leak, RequestRejected("no"), ToolCall("read_key", {}, "c1"), "Fine."]
    config = Config(store=str(tmp_path / "sessions.db"))
    with calling(*script, config=config, tools=[Tool(read_key)]) as server, httpx.Client(base_url=server.url) as client:
        key = made(server, scopes=["inference", "agents", "admin", "metrics"])
        client.headers.update({**key, HEADER: data})
        for _ in range(3):
            turn(client)
        client.get(f"/v1/agents?api_key={SECRETS[3]}")
        client.get("/v1/agents", headers={"authorization": f"Bearer {SECRETS[4]}"})
        client.get("/v1/agents", headers={"authorization": f"Basic {SECRETS[5]}", "cookie": SECRETS[5]})
        client.post("/v1/agents", content=SECRETS[6], headers={"content-type": "application/json"})
        client.get("/v1/agents", headers={"origin": f"https://{SECRETS[7]}"})
        metrics = client.get("/metrics").text
    text = lines.getvalue()
    assert "RuntimeError" in text
    assert used == [SECRETS[1]]
    secrets = [*SECRETS, key["authorization"].split("_", 2)[2]]
    assert not [secret for secret in secrets if secret in text or secret in metrics]
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    kept = b"".join(file.read_bytes() for file in files)
    assert b"Look." in kept
    given = secrets[1:]  # the first came in a model's error, whose text is part of the turn's own log
    assert not [secret for secret in given if secret.encode() in kept]


def test_spans_of_a_turn() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with calling() as server, httpx.Client(base_url=server.url) as client:
        server.server.config.app.state.watch.spans = Spans(provider)  # type: ignore[union-attr] # FastAPI's
        answer = turn(client)
    spans = exporter.get_finished_spans()
    (root,) = [span for span in spans if span.name == "invoke_agent"]
    assert _attributes(root)["agentic.turn.id"] == answer.headers["x-turn-id"]
    assert _attributes(root)["agentic.turn.reason"] == "end_of_turn"
    chats = [span for span in spans if span.name == "chat m"]
    assert [_attributes(chat)["gen_ai.request.model"] for chat in chats] == ["m", "m"]
    assert {_attributes(chat)["gen_ai.provider.name"] for chat in chats} == {"test"}
    (step,) = [span for span in spans if span.name == "tool_execution"]
    (call,) = [span for span in spans if span.name == "execute_tool look"]
    assert _attributes(call)["gen_ai.tool.call.id"] == "c1"
    assert call.parent is not None
    assert step.context is not None
    assert call.parent.span_id == step.context.span_id
    assert all(span.parent == root.context for span in (*chats, step))
    assert "box" not in "".join(str(_attributes(span)) for span in spans)


def test_a_turn_that_fails_ends_its_spans() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with calling(RequestRejected("no")) as server, httpx.Client(base_url=server.url) as client:
        server.server.config.app.state.watch.spans = Spans(provider)  # type: ignore[union-attr] # FastAPI's
        turn(client)
        assert 'agentic_turns_total{reason="error"} 1.0' in client.get("/metrics").text
    errors = {span.name: _attributes(span).get("error.type") for span in exporter.get_finished_spans()}
    assert errors == {"chat m": "RequestRejected", "invoke_agent": "RequestRejected"}


class Collector(BaseHTTPRequestHandler):
    """A collector of spans that only counts."""

    bodies: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_spans_are_sent_where_the_configuration_says() -> None:
    Collector.bodies.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            traces = f"http://127.0.0.1:{collector.server_port}/v1/traces"
            with (
                served(
                    Stack(Config(store=None), models={"test/m": ScriptedModel(["Hi"], model="test/m")}),
                    settings=ServerConfig(port=0, traces=traces),
                ) as server,
                httpx.Client(base_url=server.url) as client,
            ):
                body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
                assert client.post(f"{begun(client, toolgroups=[])}/turn", json=body).status_code == 200
                assert not Collector.bodies
        finally:
            collector.shutdown()
            thread.join()
    assert b"invoke_agent" in b"".join(Collector.bodies)


def test_spans_are_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not wanted(None)
    assert wanted("http://127.0.0.1:4318/v1/traces")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    assert wanted(None)


def _attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})
