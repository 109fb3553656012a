"""`chat/completions`, `embeddings` and `models`, by the real client."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import Sequence
from typing import Any

import httpx
import openai
import pytest
from llama_stack_client import LlamaStackClient

from agentic.protocols import Prepared
from agentic.testing import ScriptedModel
from agentic.types.content import Image
from agentic.types.errors import ConnectionFailed, ContextOverflow, ModelNotFound, RateLimited
from agentic.types.messages import AssistantMessage, StopReason
from agentic.types.sampling import Completion, Usage
from agentic.types.tools import ToolCall, ToolResponse

from .conftest import Serve, on_loop

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize("prefix", ["/v1", "/v1/openai/v1"])
def test_a_conversation_is_answered(serve: Serve, prefix: str) -> None:
    model = ScriptedModel(["Hi."])
    client, _ = serve(model=model, prefix=prefix)
    answer = client.chat.completions.create(
        model="m",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": "Hello"},
        ],
        temperature=0.5,
        top_p=0.9,
        max_completion_tokens=7,
        stop=["x"],
        seed=3,
    )
    choice = answer.choices[0]
    assert (choice.message.content, choice.finish_reason, answer.object) == ("Hi.", "stop", "chat.completion")
    request = model.requests[0]
    assert [(message.role, message.text) for message in request.messages] == [
        ("system", "Be brief.\n\nBe kind."),
        ("user", "Hello"),
    ]
    sampling = request.sampling
    assert (sampling.strategy, sampling.temperature, sampling.top_p) == ("top_p", 0.5, 0.9)
    assert (sampling.max_tokens, sampling.stop, sampling.seed) == (7, ("x",), 3)


def test_streamed_and_whole_answers_are_the_same(serve: Serve) -> None:
    client, _ = serve(["One ", "two ", "three."], ["One ", "two ", "three."])
    chunks = list(client.chat.completions.create(model="m", messages=HELLO, stream=True))
    whole = client.chat.completions.create(model="m", messages=HELLO)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.parametrize(("prefix", "ends"), [("/v1", True), ("/v1/openai/v1", False)])
def test_the_last_frame_is_as_each_client_wants_it(serve: Serve, prefix: str, ends: bool) -> None:
    _, running = serve("Hi.")
    body = {"model": "m", "messages": HELLO, "stream": True}
    text = httpx.post(f"{running.url}{prefix}/chat/completions", json=body).text
    assert text.endswith("data: [DONE]\n\n") is ends


def test_half_a_surrogate_pair_from_a_model_breaks_nothing(serve: Serve) -> None:
    client, _ = serve(*[["a\ud83d", "b"]] * 4)
    assert client.chat.completions.create(model="m", messages=HELLO).choices[0].message.content == "a?b"
    chunks = client.chat.completions.create(model="m", messages=HELLO, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "a?b"
    assert client.responses.create(model="m", input="x").output_text == "a?b"
    events = list(client.responses.create(model="m", input="x", stream=True))
    assert events[-1].type == "response.completed"


def test_usage_is_told_when_it_is_asked_for(serve: Serve) -> None:
    class Counted(ScriptedModel):
        async def generate(self, prepared: Prepared) -> Any:
            async for delta in super().generate(prepared):
                yield Completion(delta.message, Usage(11, 4)) if isinstance(delta, Completion) else delta

    client, _ = serve(model=Counted(["a", "b"]))
    chunks = list(
        client.chat.completions.create(model="m", messages=HELLO, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (11, 4)
    usage = client.chat.completions.create(model="m", messages=HELLO).usage
    assert usage is not None
    assert usage.total_tokens == 15


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_the_callers(serve: Serve, stream: bool) -> None:
    calls = [ToolCall("weather", {"city": "Łódź"}, "call_1"), ToolCall("weather", {"city": "Rome"}, "call_2")]
    model = ScriptedModel([["Let me look.", *calls], "Both are sunny."])
    client, _ = serve(model=model)
    if stream:
        found: dict[int, dict[str, str]] = {}
        chunks = list(client.chat.completions.create(model="m", messages=HELLO, tools=[WEATHER], stream=True))
        for chunk in chunks:
            for call in chunk.choices[0].delta.tool_calls or ():
                assert call.function
                assert call.function.name
                assert call.function.arguments
                assert call.id
                found[call.index] = {"id": call.id, "name": call.function.name, "arguments": call.function.arguments}
        assert chunks[-1].choices[0].finish_reason == "tool_calls"
        listed = [found[index] for index in sorted(found)]
    else:
        choice = client.chat.completions.create(model="m", messages=HELLO, tools=[WEATHER]).choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content == "Let me look."
        made = choice.message.tool_calls or []
        listed = [{"id": call.id, **call.function.model_dump()} for call in made if call.type == "function"]
    assert [json.loads(call["arguments"]) for call in listed] == [{"city": "Łódź"}, {"city": "Rome"}]
    assert model.requests[0].tools[0].name == "weather"
    said: Any = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
            for call in listed
        ],
    }
    results: Any = [{"role": "tool", "tool_call_id": call["id"], "content": call["id"]} for call in reversed(listed)]
    answer = client.chat.completions.create(model="m", messages=[*HELLO, said, *results], tools=[WEATHER])
    assert answer.choices[0].message.content == "Both are sunny."
    told = [message for message in model.requests[1].messages if isinstance(message, ToolResponse)]
    assert [(one.call_id, one.tool_name) for one in told] == [("call_1", "weather"), ("call_2", "weather")], "in order"


def test_a_call_that_could_not_be_read_comes_as_the_model_wrote_it(serve: Serve) -> None:
    broken = AssistantMessage("", (ToolCall("weather", {}, "call_1", raw='{"city": ', error="Truncated."),))
    client, _ = serve(broken)
    choice = client.chat.completions.create(model="m", messages=HELLO, tools=[WEATHER]).choices[0]
    assert choice.message.tool_calls
    call = choice.message.tool_calls[0]
    assert call.type == "function"
    assert call.function.arguments == '{"city": '


def test_images_and_files_reach_the_model(serve: Serve) -> None:
    model = ScriptedModel(["A pixel.", "Read."])
    client, _ = serve(model=model)
    url = f"data:image/png;base64,{PIXEL}"
    client.chat.completions.create(
        model="m",
        messages=[
            {
                "role": "user",
                "content": [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}],
            }
        ],
    )
    content = model.requests[0].messages[0].content
    assert isinstance(content, tuple)
    assert isinstance(content[1], Image)
    assert content[1].data == base64.b64decode(PIXEL)
    uploaded = client.files.create(file=("notes.txt", b"The secret is 42."), purpose="user_data")
    client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": [{"type": "file", "file": {"file_id": uploaded.id}}]}]
    )
    assert model.requests[1].messages[0].text == "notes.txt:\nThe secret is 42.\n"


def test_no_url_of_an_image_reads_this_machines_files(serve: Serve) -> None:
    client, _ = serve()
    for url in ("/etc/passwd", "file:///etc/passwd", "data:text/plain,x", "data:image/png;base64,AAAA"):
        part: Any = {"type": "image_url", "image_url": {"url": url}}
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": [part]}])


def test_the_answers_form_reaches_the_model(serve: Serve) -> None:
    model = ScriptedModel(['{"a": 1}'] * 3)
    client, _ = serve(model=model)
    schema: dict[str, object] = {"type": "object", "properties": {"a": {"type": "integer"}}}
    forms: list[Any] = [
        {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        {"type": "json_object"},
        {"type": "text"},
    ]
    for form in forms:
        client.chat.completions.create(model="m", messages=HELLO, response_format=form)
    assert [request.response_format for request in model.requests] == [schema, {"type": "object"}, None]


@pytest.mark.parametrize("stream", [False, True])
def test_several_choices(serve: Serve, stream: bool) -> None:
    client, _ = serve("One", "Two")
    if stream:
        texts = {0: "", 1: ""}
        for chunk in client.chat.completions.create(model="m", messages=HELLO, n=2, stream=True):
            texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
        assert texts == {0: "One", 1: "Two"}
    else:
        choices = client.chat.completions.create(model="m", messages=HELLO, n=2).choices
        assert [(choice.index, choice.message.content) for choice in choices] == [(0, "One"), (1, "Two")]


def test_an_answer_that_was_cut_off_says_so(serve: Serve) -> None:
    client, _ = serve(AssistantMessage("Half a", stop_reason=StopReason.OUT_OF_TOKENS))
    assert client.chat.completions.create(model="m", messages=HELLO).choices[0].finish_reason == "length"


UNUSABLE: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "role must be"),
    ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]}, "does not follow its call"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "not supported"),
    ({"messages": [{"role": "user", "content": 3}]}, "content"),
    ({"temperature": 3}, "temperature"),
    ({"n": 0}, "n"),
    ({"frequency_penalty": 0.5}, "frequency_penalty is not supported"),
    ({"tools": [{"type": "custom"}]}, "type function"),
    ({"tools": [WEATHER, WEATHER]}, "two tools"),
    ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "none of the tools"),
    ({"tool_choice": "required"}, "there are no tools"),
    ({"response_format": {"type": "yaml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "needs a schema"),
]


def test_a_request_that_cannot_be_used_is_refused_in_openais_form(serve: Serve) -> None:
    client, _ = serve()
    for change, message in UNUSABLE:
        with pytest.raises(openai.BadRequestError, match=message) as caught:
            client.post("/chat/completions", body={"model": "m", "messages": HELLO, **change}, cast_to=object)
        assert isinstance(caught.value.body, dict)
        assert caught.value.body["type"] == "invalid_request_error"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RateLimited("Slow down.", retry_after=90), openai.RateLimitError),
        (ModelNotFound("No such model."), openai.NotFoundError),
        (ContextOverflow("Too long."), openai.BadRequestError),
    ],
)
def test_a_model_that_fails_at_once_is_an_answer_with_a_status(
    serve: Serve, error: Exception, kind: type[openai.APIStatusError], stream: bool
) -> None:
    client, _ = serve(error)
    with pytest.raises(kind):
        client.chat.completions.create(model="m", messages=HELLO, stream=stream)


def test_a_stream_that_breaks_ends_with_an_error(serve: Serve) -> None:
    client, _ = serve(["Half ", ConnectionFailed("The line was cut.")])
    chunks = client.chat.completions.create(model="m", messages=HELLO, stream=True)
    seen = [next(chunks).choices[0].delta.content for _ in range(2)]
    assert seen == ["", "Half "]
    with pytest.raises(openai.APIError, match="line was cut"):
        next(chunks)


def test_an_unknown_model_is_not_found(serve: Serve) -> None:
    client, _ = serve()
    with pytest.raises(openai.NotFoundError, match="nobody"):
        client.chat.completions.create(model="nobody", messages=HELLO)


def test_a_client_that_goes_away_ends_the_generation(serve: Serve) -> None:
    gone = asyncio.Event()

    class Endless(ScriptedModel):
        async def generate(self, prepared: Prepared) -> Any:
            try:
                while True:
                    yield "more "
                    await asyncio.sleep(0)
            finally:
                gone.set()

    client, running = serve(model=Endless())
    stream = client.chat.completions.create(model="m", messages=HELLO, stream=True)
    next(iter(stream))
    stream.close()
    on_loop(running, asyncio.wait_for, gone.wait(), 10)


def test_texts_are_answered_in_the_older_form(serve: Serve) -> None:
    client, _ = serve(["On ", "Earth."], "Two", "Three", ["On ", "Earth."])
    answer = client.completions.create(model="m", prompt="Humans live", max_tokens=5)
    assert (answer.object, answer.choices[0].text, answer.choices[0].finish_reason) == (
        "text_completion",
        "On Earth.",
        "stop",
    )
    assert answer.usage
    several = client.completions.create(model="m", prompt=["2", "3"])
    assert [(one.index, one.text) for one in several.choices] == [(0, "Two"), (1, "Three")]
    chunks = list(client.completions.create(model="m", prompt="Humans live", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == "On Earth."
    refused: list[Any] = [{"prompt": [1, 2]}, {"prompt": []}, {"prompt": ""}, {"echo": True}, {"n": 2}]
    for change in refused:
        with pytest.raises(openai.BadRequestError):
            client.completions.create(**{"model": "m", "prompt": "x", **change})


# Embeddings and models.


class Embedding(ScriptedModel):
    """Makes vectors, too."""

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [[float(len(text)), -0.5, 1e-3] for text in texts]


def test_vectors_come_as_numbers_or_as_base64(serve: Serve) -> None:
    client, running = serve(model=Embedding())
    numbers = client.embeddings.create(model="m", input=["a", "bcd"], encoding_format="float")
    assert [row.embedding for row in numbers.data] == [[1.0, -0.5, 1e-3], [3.0, -0.5, 1e-3]]
    packed = client.embeddings.create(model="m", input="bcd")  # the client asks for base64 and reads it
    assert packed.data[0].embedding == pytest.approx([3.0, -0.5, 1e-3])
    raw = httpx.post(
        f"{running.url}/v1/embeddings", json={"model": "m", "input": "a", "encoding_format": "base64"}
    ).json()
    assert struct.unpack("<3f", base64.b64decode(raw["data"][0]["embedding"])) == pytest.approx((1.0, -0.5, 1e-3))


def test_embeddings_that_cannot_be_made_are_refused(serve: Serve) -> None:
    client, _ = serve(model=Embedding())
    changes: list[Any] = [{"input": [1, 2]}, {"input": ""}, {"input": []}, {"dimensions": 7}]
    for change in changes:
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(**{"model": "m", "input": "a", **change})


def test_a_model_that_makes_no_vectors_says_so(serve: Serve) -> None:
    client, _ = serve()
    with pytest.raises(openai.BadRequestError, match="makes no embeddings"):
        client.embeddings.create(model="m", input="a")


@pytest.mark.parametrize("prefix", ["/v1", "/v1/openai/v1"])
def test_models_are_listed(serve: Serve, prefix: str) -> None:
    client, _ = serve(prefix=prefix, models={"org/two": ScriptedModel()})
    listed = [model.id for model in client.models.list()]
    assert listed[:2] == ["m", "org/two"]
    found = client.models.retrieve("org/two")
    assert (found.id, found.object) == ("org/two", "model")


def test_one_list_of_models_serves_both_kinds_of_client(serve: Serve) -> None:
    _, running = serve()
    listed = httpx.get(f"{running.url}/v1/models").json()
    assert listed["data"][0]["identifier"] == listed["data"][0]["id"] == "m"


def test_an_unknown_path_of_a_model_is_not_found(serve: Serve) -> None:
    client, _ = serve(prefix="/v1/openai/v1")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("prefix", "store"), [("/v1", True), ("/v1/openai/v1", openai.omit)])
def test_answers_are_kept_with_their_questions(serve: Serve, prefix: str, store: Any, stream: bool) -> None:
    call = ToolCall("weather", {"city": "Oslo"}, "c1")
    client, running = serve(["On", "e."], "Two.", [call], prefix=prefix, kept=True)
    ids = []
    options: Any
    for options in ({}, {}, {"tools": [WEATHER]}):
        answer: Any = client.chat.completions.create(model="m", messages=HELLO, stream=stream, store=store, **options)
        ids.append(list(answer)[-1].id if stream else answer.id)
    assert [one.id for one in client.chat.completions.list()] == ids[::-1]
    assert client.chat.completions.list(limit=1, order="asc").data[0].choices[0].message.content == "One."
    assert client.chat.completions.list(model="other").data == []
    found: Any = client.chat.completions.retrieve(ids[2])
    assert found.choices[0].message.tool_calls[0].function.arguments == '{"city": "Oslo"}'
    assert (found.choices[0].finish_reason, found.input_messages) == ("tool_calls", HELLO)
    with LlamaStackClient(base_url=running.url) as other:
        assert other.chat.completions.retrieve(ids[0]).input_messages[0].content == "Hello"
    client.chat.completions.delete(ids[0])
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(ids[0])


@pytest.mark.parametrize(("prefix", "store"), [("/v1", openai.omit), ("/v1/openai/v1", False)])
def test_what_is_not_to_be_kept_is_not(serve: Serve, prefix: str, store: Any) -> None:
    client, _ = serve("One.", prefix=prefix)
    client.chat.completions.create(model="m", messages=HELLO, store=store)
    assert client.chat.completions.list().data == []
