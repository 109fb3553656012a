"""Events and lines from bytes that are split anywhere; connections that are used again or given up."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic.inference import connect, events, generate
from agentic.inference.events import Events, JsonLines
from agentic.inference.failures import Server as Named
from agentic.types import Completion, InferenceRequest, InvalidResponse, UserMessage
from servers.base import Answer, Request, Server
from servers.openai import OpenAIServer

NAMED = Named("server", "x")
HI = InferenceRequest(messages=[UserMessage("Hi")])


@given(
    st.lists(
        st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n"), min_size=1).map(str.strip)
    ),
    st.sampled_from([b"\n", b"\r\n"]),
    st.integers(1, 20),
    st.booleans(),
)
def test_events_are_the_same_however_they_are_split(texts: list[str], end: bytes, size: int, comments: bool) -> None:
    texts = [text for text in texts if text]
    between = b": ping" + end * 2 if comments else b""
    stream = b"".join(between + b"data: " + text.encode() + end * 2 for text in texts)
    reader = Events(NAMED)
    found = [data for at in range(0, len(stream), size) for data in reader.feed(stream[at : at + size])]
    assert [data.strip() for data in found + reader.flush()] == texts


def test_one_event_over_several_data_lines() -> None:
    reader = Events(NAMED)
    assert reader.feed(b'event: x\nid: 1\ndata: {"a":\ndata:1}\n\n') == [' {"a":\n1}']


def test_a_last_event_without_its_empty_line() -> None:
    reader = Events(NAMED)
    assert reader.feed(b"data: 1\n\ndata: 2") == [" 1"]
    assert reader.flush() == [" 2"]


def test_an_event_of_older_llama_cpp_servers() -> None:
    assert Events(NAMED).feed(b'error: {"message":"no"}\n\n') == ['{"error": {"message":"no"}}']


def test_a_plain_body_is_one_text() -> None:
    reader = Events(NAMED)
    assert reader.feed(b'\n{"a":') == reader.feed(b"\n1}\n") == []
    assert [text.strip() for text in reader.flush()] == ['{"a":\n1}']


def test_json_lines() -> None:
    reader = JsonLines(NAMED)
    assert reader.feed(b'{"a":1}\r\n\n{"b"') == ['{"a":1}']
    assert reader.feed(b":2}") == []
    assert reader.flush() == ['{"b":2}']


@pytest.mark.parametrize(
    ("kind", "chunk"),
    [(Events, b"data: " + b"x" * 100), (Events, b"data: x\n" * 10), (Events, b"{\n" * 50), (JsonLines, b"x" * 100)],
)
def test_nothing_grows_without_end(
    kind: type[Events | JsonLines], chunk: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LARGEST", 10_000)
    reader = kind(NAMED)
    with pytest.raises(InvalidResponse):
        any(reader.feed(chunk) for _ in range(1000))


class Lingering(OpenAIServer):
    """Says `[DONE]` and keeps the stream open."""

    async def answer(self, request: Request, answer: Answer) -> None:
        await answer.start("text/event-stream")
        await answer.send(b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
        await asyncio.Event().wait()


async def talk(server: Server, times: int) -> None:
    model = connect("openai/test", endpoint=server.url)
    try:
        for _ in range(times):
            deltas = [delta async for delta in generate(model, await model.prepare(HI))]
            assert isinstance(deltas[-1], Completion)
            assert deltas[-1].message.content == "Hi"
    finally:
        await model.aclose()


def test_a_server_that_keeps_its_stream_open_does_not_hold_the_answer_up() -> None:
    with Lingering() as server:
        asyncio.run(talk(server, 1))
        assert server.requests[0].gone.wait(5)


def test_closing_reaches_the_connections_of_another_loop() -> None:
    with OpenAIServer() as server:
        model = connect("openai/test", endpoint=server.url)

        async def main() -> None:
            async for _ in generate(model, await model.prepare(HI)):
                pass
            await asyncio.to_thread(lambda: asyncio.run(model.aclose()))
            assert not model._http._pools  # type: ignore[attr-defined]

        asyncio.run(main())


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = ("PIL", "llama_stack_client", "httpx", "numpy", "faiss", "sqlalchemy", "xllamacpp", "tiktoken")
    code = f"import sys, agentic.inference, agentic.testing; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
