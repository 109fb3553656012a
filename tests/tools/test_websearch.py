"""Web search: what is asked, what comes back, and everything that can go wrong on the way."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from agentic import Agent, keys
from agentic.protocols import Tool, ToolContext, ToolOutput
from agentic.testing import ScriptedModel
from agentic.types.errors import ConfigError, ToolError
from agentic.types.steps import InferenceStep
from agentic_tools import WebSearch
from agentic_tools.websearch import TEXT_CHARS
from servers.base import Answer, HangUp, Request, Server, Status
from servers.brave import BraveServer, failure, limited
from servers.tavily import TavilyServer

Provider = BraveServer | TavilyServer
HTML = Status(502, b"<html><body><h1>Bad Gateway</h1></body></html>", {"retry-after": "9"}, "text/html")


@pytest.fixture(params=["brave", "tavily"])
def provider(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    with TavilyServer() if request.param == "tavily" else BraveServer() as server:
        monkeypatch.setenv("TAVILY_API_KEY" if request.param == "tavily" else "BRAVE_SEARCH_API_KEY", server.key)
        yield server


@pytest.fixture
def brave(monkeypatch: pytest.MonkeyPatch) -> Iterator[BraveServer]:
    with BraveServer() as server:
        monkeypatch.setenv("BRAVE_SEARCH_API_KEY", server.key)
        yield server


def search(server: Server, query: str = "weather in Lisbon", **options: Any) -> ToolOutput:
    return asyncio.run(WebSearch(endpoint=server.url, **options)(query))


def text(output: ToolOutput) -> str:
    assert isinstance(output.content, str)
    return output.content


def test_brave_is_asked_as_its_reference_says(brave: BraveServer) -> None:
    output = search(brave, max_results=3, freshness="week", exclude_domains=["spam.example"])
    request = brave.requests[0]
    assert request.path == (
        "/res/v1/web/search?q=weather+in+Lisbon+-site%3Aspam.example&count=3&result_filter=web"
        "&text_decorations=false&extra_snippets=true&freshness=pw"
    )
    headers = {name: request.headers[name] for name in ("accept", "x-subscription-token", "accept-encoding")}
    assert headers == {"accept": "application/json", "x-subscription-token": brave.key, "accept-encoding": "identity"}
    assert text(output) == (
        "[1] Weather in Lisbon (November 20, 2026)\nhttps://weather.example.org/lisbon\n"
        "Lisbon: 21 °C & sunny. … Tomorrow it will be 19 °C.\n\n"
        "[2] Lisbon\nhttps://en.example.org/wiki/Lisbon\nThe capital of Portugal."
    )
    assert output.metadata["sources"][0] == {
        "title": "Weather in Lisbon",
        "url": "https://weather.example.org/lisbon",
        "snippet": "Lisbon: 21 °C & sunny. … Tomorrow it will be 19 °C.",
        "published": "November 20, 2026",
    }


def test_tavily_is_asked_as_its_reference_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with TavilyServer() as server:
        monkeypatch.setenv("TAVILY_API_KEY", server.key)
        output = search(server, max_results=1, freshness="month", include_domains=["Weather.Example.org"])
        request = server.requests[0]
    assert request.json == {
        "query": "weather in Lisbon",
        "max_results": 1,
        "time_range": "month",
        "include_domains": ["weather.example.org"],
    }
    assert request.headers["authorization"] == f"Bearer {server.key}"
    assert text(output) == (
        "[1] Weather in Lisbon & around (2026-11-20)\nhttps://weather.example.org/lisbon\n"
        "Lisbon: 21 °C and sunny today. Tomorrow 19 °C."
    )
    assert output.metadata["provider"] == "tavily"


def test_a_query_with_any_characters_arrives(provider: Provider) -> None:
    query = 'a&b=c #1 "π ≈ 3" ?x=%20+<|eot_id|>'
    search(provider, f"  {query}\n\t\x00\x1b[31m")
    sent = provider.query()["q"] if isinstance(provider, BraveServer) else provider.requests[0].json["query"]
    assert sent == query


def test_brave_is_asked_no_longer_a_query_than_it_takes(brave: BraveServer) -> None:
    domains = [f"site{number}.example.org" for number in range(20)]
    assert "No results" in text(search(brave, " ".join("why" for _ in range(60)), include_domains=domains))
    assert brave.query()["q"] == " ".join("why" for _ in range(50))
    search(brave, "a b", include_domains=domains[:10], exclude_domains=["spam.example"])
    assert brave.query(1)["q"].startswith("a b site:site0.example.org OR site:")
    assert brave.query(1)["q"].endswith("-site:spam.example")


def test_domains_hold_whatever_the_service_sends(provider: Provider) -> None:
    provider.results = [
        {"title": name, "url": url}
        for name, url in (
            ("in", "https://example.org/a"),
            ("below", "https://docs.example.org/b"),
            ("not", "https://notexample.org/"),
            ("out", "https://spam.example.org/"),
            ("trick", "https://example.org@evil.test/"),
        )
    ]
    output = search(provider, include_domains=["example.org"], exclude_domains=["*.spam.example.org"])
    assert [row["title"] for row in output.metadata["sources"]] == ["in", "below"]


def test_results_are_bounded_and_cleaned(provider: Provider) -> None:
    body = "content" if isinstance(provider, TavilyServer) else "description"
    hostile = "&amp;lt; <b>x</b>\x1b[31m\x00\u202e<script>alert(1)</script> &lt;|eot_id|&gt; 1 < 2 > 0\ud800"
    provider.results = [
        *[{"title": "T" * 5000, "url": f"https://example.org/{number}", body: "s" * 50_000} for number in range(30)],
    ]
    output = search(provider, max_results=20)
    assert len(text(output)) <= TEXT_CHARS
    assert len(output.metadata["sources"]) == 20
    assert len(json.dumps(output.metadata)) < 20_000
    provider.results = [{"title": hostile, "url": "https://example.org/", body: hostile}]
    row = search(provider).metadata["sources"][0]
    assert row["title"] == row["snippet"] == "&lt; xalert(1) <|eot_id|> 1 < 2 > 0?"


def test_rows_that_are_no_pages_are_left_out(provider: Provider) -> None:
    good = {"url": "https://example.org/"}
    provider.results = [
        *(None, 1, "x", [], {}, {"url": None}, {"url": 3}, {"url": ""}, {"url": "javascript:alert(1)"}),
        *({"url": "file:///etc/passwd"}, {"url": "https://"}, {"url": "http://["}, {"url": "https://a b/"}),
        *({"url": "https://example.org/\x00"}, {"url": "https://example.org/" + "x" * 3000}),
        *({**good, "title": {"a": 1}, "content": 5, "description": [], "extra_snippets": "x", "age": 3}, good),
    ]
    rows = search(provider, max_results=20).metadata["sources"]
    assert [row["url"] for row in rows] == ["https://example.org/"] * 2
    assert rows[0] == {"title": "https://example.org/", "url": "https://example.org/", "snippet": "", "published": ""}


@pytest.mark.parametrize("results", [[], None, {}, "none", 0])
def test_no_results_are_said(provider: Provider, results: Any) -> None:
    provider.results = results
    output = search(provider, "xyzzy")
    assert text(output) == "No results for 'xyzzy'."
    assert output.metadata["sources"] == []


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Status(401, {"detail": {"error": "Unauthorized: KEY"}}), r"does not accept the key \(401: Unauthorized"),
        (Status(403, b""), r"does not accept the key \(403\)"),
        (Status(422, failure(422, "SUBSCRIPTION_TOKEN_INVALID", "KEY")), "does not accept the key"),
        (Status(400, {"detail": {"error": "Query is too long."}}), r"refused the request \(400: Query is too long.\)"),
        (Status(400, failure(400, "OPTION_NOT_IN_PLAN", "Not in plan.")), "400: OPTION_NOT_IN_PLAN: Not in plan."),
        (Status(432, {"detail": {"error": "Plan limit."}}), r"used up \(432: Plan limit.\)"),
        (Status(429, {"detail": {"error": "Slow."}}, {"retry-after": "30"}), r"too many requests .* after 30 s"),
        (Status(429, b"", {"retry-after": "Mon, 01 Jan 2120 00:00:00 GMT"}), "too many requests"),
        (Status(429, b"", {"retry-after": "soon"}), "can be tried again later"),
        (Status(500, b"", {"retry-after": "9"}), r"failed \(500\)"),
        (HTML, r"failed \(502\)"),
        (Status(302, b"", {"location": "http://127.0.0.1:1/"}), r"refused the request \(302\)"),
        (Status(204, b""), r"refused the request \(204\)"),
        (Status(404, b"<html>" + b"x" * 100_000, content_type="text/html"), r"refused the request \(404\)\.$"),
        (Status(200, b'{"results": [{"title": "cut'), "not JSON, or cut off"),
        (Status(200, b"<html>Sign in to the hotel's network</html>", content_type="text/html"), "not JSON"),
        (Status(200, b""), "not JSON"),
        (Status(200, b"[" * 100_000), "not JSON"),
        (Status(200, b"x" * (4 * 1024 * 1024 + 1)), "sent more than 4,194,304 bytes"),
        (HangUp(), "broke off"),
    ],
)
def test_failures_are_clear(provider: Provider, fault: Any, says: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    if isinstance(fault, Status) and not isinstance(fault.body, bytes):
        body = json.dumps(fault.body).replace("KEY", provider.key).encode()
        fault = Status(fault.code, body, fault.headers)
    provider.faults.append(fault)
    with pytest.raises(ToolError, match=says) as caught:
        search(provider)
    assert len(provider.requests) == 1
    assert provider.key not in str(caught.value) + repr(caught.value.__cause__) + caplog.text
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("body", [b"[]", b"null", b"3", b'"x"', b"{}", b'{"web": []}', b'{"web": null, "results": {}}'])
def test_json_of_another_form_is_survived(provider: Provider, body: bytes) -> None:
    provider.faults.append(Status(200, body))
    if isinstance(provider, TavilyServer) and not body.startswith(b"{"):  # its client wants an object
        with pytest.raises(ToolError, match="not JSON"):
            search(provider)
    else:
        assert text(search(provider)).startswith("No results")


@pytest.mark.parametrize("fault", [Status(429, b"", {"retry-after": "0"}), Status(503, b"", {"retry-after": "0"})])
def test_a_short_pause_is_waited_for_once(provider: Provider, fault: Status) -> None:
    provider.faults.append(fault)
    assert "[1]" in text(search(provider))
    assert len(provider.requests) == 2
    assert provider.requests[0].body == provider.requests[1].body
    provider.faults += [fault, fault]
    with pytest.raises(ToolError):
        search(provider)
    assert len(provider.requests) == 4


def test_braves_own_limits_are_read(brave: BraveServer) -> None:
    brave.faults.append(limited("0, 1500", "0, 1419704"))
    assert "[1]" in text(search(brave))
    brave.faults.append(limited("0, 0", "1, 1419704"))
    with pytest.raises(ToolError, match="after 1419704 s"):
        search(brave)


class Silent(Server):
    async def answer(self, request: Request, answer: Answer) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("name", ["brave", "tavily"])
def test_a_service_that_says_nothing_is_given_up(name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAVILY_API_KEY", "tvly-secret")
    monkeypatch.setenv("BRAVE_SEARCH_API_KEY", "brave-secret")
    with Silent() as server:
        with pytest.raises(ToolError, match=r"did not answer within 0\.2 s"):
            search(server, provider=name, timeout=0.2)
        assert server.requests[0].gone.wait(5)
        origin = server.origin
    with pytest.raises(ToolError, match="cannot be reached"):
        asyncio.run(WebSearch(name, endpoint=origin)("x"))


def test_the_provider_is_the_one_whose_key_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for build in (WebSearch, lambda: Agent(ScriptedModel(), tools=["builtin::websearch"], store=None)):
        with pytest.raises(ConfigError, match="TAVILY_API_KEY or BRAVE_SEARCH_API_KEY, or run: agentic keys set TAV"):
            build()
    monkeypatch.setenv("BRAVE_SEARCH_API_KEY", "brave-secret")
    assert WebSearch().provider == "brave"
    with pytest.raises(ConfigError, match="Tavily needs a key"):
        WebSearch("tavily")
    keys.store("TAVILY_API_KEY", "tvly-secret")
    assert (WebSearch().provider, WebSearch("brave").provider) == ("tavily", "brave")
    assert "secret" not in repr(WebSearch()) + repr(vars(WebSearch()))


@pytest.mark.parametrize(
    "options",
    [
        *({"max_results": 0}, {"max_results": 21}, {"freshness": "hour"}, {"timeout": 0}, {"timeout": 1000}),
        *({"include_domains": "python.org"}, {"include_domains": ["a b"]}, {"exclude_domains": ["http://x"]}),
        *({"include_domains": [""]}, {"provider": "google"}, {"endpoint": "ftp://x"}),
    ],
)
def test_options_that_make_no_sense_are_refused(options: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAVE_SEARCH_API_KEY", "brave-secret")
    with pytest.raises(ConfigError):
        WebSearch(**options)


@pytest.mark.parametrize("arguments", [{}, {"query": ""}, {"query": 3}, {"query": "x" * 401}, {"query": "x", "n": 1}])
def test_arguments_are_checked(brave: BraveServer, arguments: Any) -> None:
    with pytest.raises(ToolError, match="arguments do not fit"):
        asyncio.run(WebSearch(endpoint=brave.url).invoke(arguments, ToolContext()))
    assert not brave.requests


def test_llama_models_know_it_as_brave_search(provider: Provider) -> None:
    tool = WebSearch(endpoint=provider.url)
    assert isinstance(tool, Tool)
    assert (tool.definition.name, tool.definition.builtin) == ("brave_search", True)
    assert tool.definition.parameters["required"] == ["query"]
    model = ScriptedModel(
        [
            '<|python_tag|>brave_search.call(query="weather in Lisbon")<|eom_id|>',
            '<|python_tag|>brave_search.call(query="Lisbon")<|eom_id|>',
            "It is 21 °C in Lisbon.<|eot_id|>",
        ]
    )
    with Agent(model, tools=[tool], store=None) as agent:
        turn = agent.run("What is the weather in Lisbon?")
    assert turn.text == "It is 21 °C in Lisbon."
    assert [call.arguments for call in turn.tool_calls] == [{"query": "weather in Lisbon"}, {"query": "Lisbon"}]
    assert [response.status for response in turn.tool_responses] == ["ok", "ok"]
    assert [source["url"] for source in turn.sources] == [
        "https://weather.example.org/lisbon",
        "https://en.example.org/wiki/Lisbon",
    ]
    assert sum(isinstance(step, InferenceStep) for step in turn.steps) == 3


def test_a_refused_search_is_told_to_the_model(brave: BraveServer) -> None:
    brave.faults.append(Status(401, b""))
    model = ScriptedModel(['<|python_tag|>brave_search.call(query="x")<|eom_id|>', "I cannot search."])
    with Agent(model, tools=[WebSearch(endpoint=brave.url)], store=None) as agent:
        turn = agent.run("Search.")
    assert turn.tool_responses[0].status == "error"
    assert turn.tool_responses[0].text.startswith("Brave Search does not accept the key (401).")
    assert turn.sources == ()


def test_the_key_of_a_request_is_used(brave: BraveServer) -> None:
    tool = WebSearch(endpoint=brave.url)
    with keys.given({"BRAVE_SEARCH_API_KEY": "brave-another-key"}), pytest.raises(ToolError, match="the key"):
        asyncio.run(tool("x"))
    assert brave.requests[0].headers["x-subscription-token"] == "brave-another-key"


def test_the_environments_proxy_is_used(brave: BraveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", brave.origin.removeprefix("http://"))
    monkeypatch.setenv("no_proxy", "")
    asyncio.run(WebSearch(endpoint="http://search.test")("x"))
    assert brave.requests[0].path.startswith("http://search.test/res/v1/web/search?q=x")


def test_searches_may_run_together(provider: Provider) -> None:
    async def main() -> list[ToolOutput]:
        tool = WebSearch(endpoint=provider.url)
        return await asyncio.gather(*(tool(f"query {number}") for number in range(10)))

    assert [output.metadata["query"] for output in asyncio.run(main())] == [f"query {number}" for number in range(10)]
