"""Wolfram Alpha: parts as text, plots as images, and everything but an answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from agentic import Agent
from agentic.net import Guard
from agentic.protocols import ToolOutput
from agentic.testing import ScriptedModel
from agentic.types.content import Image, images_of, text_of
from agentic.types.errors import ConfigError, ToolError
from agentic_tools import WolframAlpha
from agentic_tools.wolfram import TEXT_CHARS
from servers.base import Answer, HangUp, Request, Server, Status
from servers.wolfram import GIF, NOTHING, SLOW, UNKNOWN, WolframServer, answered, pod

HERE = Guard(allow=("127.0.0.1/32",))
INTEGRAL = answered(
    pod("Indefinite integral", "integral x^2 dx = x^3/3 + constant", "ORIGIN/text.gif", primary=True),
    pod("Plots of the integral", "", "ORIGIN/plot.gif"),
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WolframServer]:
    with WolframServer(INTEGRAL) as server:
        monkeypatch.setenv("WOLFRAM_ALPHA_APPID", server.key)
        yield server


def ask(server: Server, query: str = "integrate x^2", **options: Any) -> ToolOutput:
    return asyncio.run(WolframAlpha(endpoint=server.url, **{"guard": HERE, **options})(query))


def test_parts_become_text_and_plots_images(server: WolframServer) -> None:
    output = ask(server)
    assert text_of(output.content) == (
        "Indefinite integral:\nintegral x^2 dx = x^3/3 + constant\n\nPlots of the integral: (a picture)"
    )
    assert images_of(output.content) == (Image(data=GIF),)
    assert dict(parse_qsl(urlsplit(server.requests[0].path).query)) == {
        "input": "integrate x^2",
        "format": "plaintext,image",
        "totaltimeout": "28",
        "appid": server.key,
    }
    assert [urlsplit(request.path).path for request in server.requests] == ["/v2/query", "/plot.gif"]
    assert server.key not in server.requests[1].path


@pytest.mark.parametrize("content_type", ["text/xml; charset=utf-8", "application/xml", "text/plain"])
def test_the_content_type_does_not_matter(server: WolframServer, content_type: str) -> None:
    server.content_type = content_type
    assert "x^3/3" in text_of(ask(server).content)


def test_pictures_are_bounded_and_may_be_missing(server: WolframServer) -> None:
    plots = [pod(f"Plot {number}", "", "ORIGIN/plot.gif") for number in range(10)]
    server.xml = answered(*plots)
    assert len(images_of(ask(server).content)) == 2
    assert ask(server, pictures=0).content == "\n\n".join(f"Plot {number}: (a picture)" for number in range(10))
    server.xml = answered(pod("Plot", "", "ORIGIN/broken.gif"), pod("More", "", "file:///etc/passwd"))
    assert ask(server).content == "Plot: (a picture)\n\nMore: (a picture)"


def test_pictures_come_from_the_public_web_only(server: WolframServer) -> None:
    assert isinstance(ask(server, guard=None).content, str)
    assert len(server.requests) == 1


def test_text_is_bounded_and_cleaned(server: WolframServer) -> None:
    server.xml = answered(*(pod(f"P{number}", "y" * 5000) for number in range(20)))
    assert len(text_of(ask(server).content)) <= TEXT_CHARS
    server.xml = answered(pod("<b>T</b>\u202e", "1 < 2 & <|eot_id|>\u202e"))
    assert ask(server).content == "T:\n1 < 2 & <|eot_id|>"


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        (
            UNKNOWN,
            "no answer to 'q'.\nDid you mean: frances split; france split?\nCheck your spelling, and use English",
        ),
        (SLOW, "Wolfram Alpha ran out of time on 'q'; a simpler question may work."),
        (NOTHING, "Wolfram Alpha has no answer to 'q'."),
        (answered(), "Wolfram Alpha answered without any text."),
        (answered(pod("Empty", "")), "Wolfram Alpha answered without any text."),
    ],
)
def test_everything_but_an_answer_is_said(server: WolframServer, xml: str, says: str) -> None:
    server.xml = xml
    content = ask(server, "q").content
    assert isinstance(content, str)
    assert content.endswith(says)


ENTITIES = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><queryresult success="true">&c;</queryresult>'


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Status(403, b"Error 1: Invalid appid", content_type="text/plain"), r"does not accept the key \(403\)"),
        (Status(429, b"", {"retry-after": "30"}), "too many requests .* after 30 s"),
        (Status(501, b"Wolfram|Alpha did not understand your input"), r"failed \(501\)"),
        (Status(200, b"<html><body><p>Down for maintenance</body></html>"), "not its XML, or cut off"),
        (Status(200, b"<html><body><p>Down</p></body></html>", content_type="text/html"), "not its XML"),
        (Status(200, b"<queryresult success='true'><pod title='x'"), "not its XML, or cut off"),
        (Status(200, b"<queryresult/>"), "not its XML"),
        (Status(200, b"<queryresult success='yes'/>"), "not its XML"),
        (Status(200, b""), "not its XML"),
        (Status(200, b"<a>" * 50_000), "not its XML"),
        (Status(200, ENTITIES.encode()), "not its XML"),
        (
            Status(
                200,
                b"<queryresult success='false' error='true'><error><code>9</code><msg>No</msg></error></queryresult>",
            ),
            "could not answer: Error 9: No",
        ),
        (HangUp(), "broke off"),
    ],
)
def test_failures_are_clear(server: WolframServer, fault: Any, says: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.faults.append(fault)
    with pytest.raises(ToolError, match=says):
        ask(server)
    assert server.key not in caplog.text


def test_an_invalid_key_is_said_and_not_shown(
    server: WolframServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("WOLFRAM_ALPHA_APPID", "ANOTHER-KEY")
    with pytest.raises(ToolError, match="does not accept the key: Error 1: Invalid appid") as caught:
        ask(server)
    assert "ANOTHER-KEY" not in str(caught.value) + caplog.text
    assert "appid=ANOTHER-KEY" in server.requests[0].path


class Silent(Server):
    async def answer(self, request: Request, answer: Answer) -> None:
        await asyncio.Event().wait()


def test_a_service_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WOLFRAM_ALPHA_API_KEY", "WOLF-SECRETKEY")
    with Silent() as server, pytest.raises(ToolError, match=r"did not answer within 0\.2 s"):
        ask(server, timeout=0.2)


def test_a_missing_key_is_found_when_the_agent_is_built() -> None:
    with pytest.raises(ConfigError, match="WOLFRAM_ALPHA_API_KEY or WOLFRAM_ALPHA_APPID, or run: agentic keys set WOL"):
        Agent(ScriptedModel(), tools=["builtin::wolfram_alpha"], store=None)


@pytest.mark.parametrize("options", [{"pictures": -1}, {"timeout": 0}, {"endpoint": "nope"}])
def test_options_that_make_no_sense_are_refused(server: WolframServer, options: Any) -> None:
    with pytest.raises(ConfigError):
        WolframAlpha(**options)


def test_llama_models_know_it_as_wolfram_alpha(server: WolframServer) -> None:
    tool = WolframAlpha(endpoint=server.url, guard=HERE)
    model = ScriptedModel(['<|python_tag|>wolfram_alpha.call(query="integrate x^2")<|eom_id|>', "x^3/3 + C"])
    with Agent(model, tools=[tool], store=None) as agent:
        turn = agent.run("Integrate.")
    assert (tool.definition.name, tool.definition.builtin) == ("wolfram_alpha", True)
    assert turn.tool_responses[0].status == "ok"
    assert images_of(turn.tool_responses[0].content) == (Image(data=GIF),)
