"""Everything that a server or a network can do wrong becomes one typed error that says what to do."""

from __future__ import annotations

import email.utils
import socket
import ssl
import time
from typing import Any

import httpx
import pytest

from agentic.inference import Retries, connect, generate
from agentic.inference.failures import Server
from agentic.protocols import Inference
from agentic.types import (
    AuthenticationFailed,
    Completion,
    ConnectionFailed,
    ContextOverflow,
    InferenceError,
    InferenceRequest,
    InferenceTimeout,
    InvalidResponse,
    ModelNotFound,
    RateLimited,
    RequestRejected,
    ServerFailed,
    UserMessage,
)
from servers.base import CutAfter, Fault, HangUp, Insert, Status
from servers.ollama import OllamaServer
from servers.openai import Manner, OpenAIServer
from servers.providers import PROVIDERS, serving

pytestmark = pytest.mark.anyio
HI = InferenceRequest(messages=[UserMessage("Hi")])
ONCE = Retries(limit=0, first_token=5, gap=5)
QUICK = Retries(limit=2, backoff=0.001, first_token=5, gap=5)


async def answer(model: Inference, retries: Retries = ONCE) -> Completion:
    try:
        deltas = [delta async for delta in generate(model, await model.prepare(HI), retries)]
    finally:
        await model.aclose()
    assert isinstance(deltas[-1], Completion)
    return deltas[-1]


def said(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


OVERFLOWS = {
    "OpenAI": (400, said("Your input is too long.", type="invalid_request_error", code="context_length_exceeded")),
    "vLLM, old": (
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (8900 "
            "in the messages, 100 in the completion). Please reduce the length of the messages or completion.",
            "type": "BadRequestError",
            "code": 400,
        },
    ),
    "vLLM, new": (
        400,
        said(
            "You passed 1015 input tokens and requested 10 output tokens. However, the model's context length is only "
            "1024 tokens, resulting in a maximum input length of 1014 tokens.",
            type="BadRequestError",
            code=400,
        ),
    ),
    "llama.cpp": (
        400,
        said(
            "request (601 tokens) exceeds the available context size (512 tokens), try increasing it",
            code=400,
            type="exceed_context_size_error",
            n_prompt_tokens=601,
        ),
    ),
    "Ollama": (400, {"error": "the input length exceeds the context length"}),
}

STATUSES: dict[str, tuple[Status, type[InferenceError]]] = {
    "401": (Status(401, said("Incorrect API key provided.")), AuthenticationFailed),
    "403": (Status(403, {"detail": "Forbidden"}), AuthenticationFailed),
    "404 model": (Status(404, said("The model `x` does not exist.", code="model_not_found")), ModelNotFound),
    "404 model, Ollama": (Status(404, {"error": "model 'x' not found"}), ModelNotFound),
    "400 model, Llama Stack": (Status(400, {"detail": "Invalid value: Model 'x' not found"}), ModelNotFound),
    "404 route": (Status(404, {"detail": "Not Found"}), RequestRejected),
    "408": (Status(408, b"", content_type="text/plain"), InferenceTimeout),
    "422": (Status(422, {"detail": [{"loc": ["body"], "msg": "field required"}]}), RequestRejected),
    "429": (Status(429, said("Slow down.")), RateLimited),
    "429 quota": (Status(429, said("You exceeded your quota.", code="insufficient_quota")), RequestRejected),
    "500": (Status(500, b"Internal Server Error", content_type="text/plain"), ServerFailed),
    "502 page": (Status(502, b"<html><head><title>502 Bad Gateway</title>", content_type="text/html"), ServerFailed),
    "503": (Status(503, said("Loading model", type="unavailable_error", code=503)), ServerFailed),
    "504": (Status(504, b""), InferenceTimeout),
    "301": (Status(301, b"", {"location": "https://example.org/v1"}), RequestRejected),
    **{f"overflow, {name}": (Status(*answer), ContextOverflow) for name, answer in OVERFLOWS.items()},
}


@pytest.mark.parametrize("case", STATUSES)
async def test_statuses(case: str) -> None:
    status, error = STATUSES[case]
    with OpenAIServer() as server:
        server.faults.append(status)
        with pytest.raises(error) as caught:
            await answer(connect("openai/test", endpoint=server.url))
        assert type(caught.value) is error
        assert "<" not in str(caught.value)
        assert str(caught.value).endswith(".")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_every_provider_translates(provider: str) -> None:
    with serving(provider) as (server, model):
        if provider == "openai, careless":  # it refuses the first request for its stream_options
            await answer(model)
        faults: list[tuple[Fault, type[InferenceError]]] = [
            (STATUSES["401"][0], AuthenticationFailed),
            (STATUSES["500"][0], ServerFailed),
            (STATUSES["overflow, llama.cpp"][0], ContextOverflow),
        ]
        if "not streaming" not in provider:
            faults.append((Insert(0, b"<html><title>Welcome</title></html>"), InvalidResponse))
            faults.append((CutAfter(0, reset=False), ConnectionFailed))
        for fault, error in faults:
            server.faults.append(fault)
            with pytest.raises(error):
                await answer(model)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_connection_that_breaks_before_the_answer(provider: str) -> None:
    with serving(provider) as (server, model):
        server.faults.append(HangUp())
        with pytest.raises(ConnectionFailed):
            await answer(model)


@pytest.mark.parametrize("provider", ["openai", "ollama", "raw, vllm", "raw, llama.cpp"])
async def test_an_idle_connection_that_the_server_closed_is_replaced_at_once(provider: str) -> None:
    with serving(provider) as (server, model):
        prepared = await model.prepare(HI)
        for fault in (None, HangUp(), HangUp()):
            server.faults.append(fault)
            assert [delta async for delta in model.generate(prepared)]
        await model.aclose()
        assert server.connections == 3


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_what_is_worth_repeating_is_repeated(provider: str) -> None:
    with serving(provider) as (server, model):
        server.faults.extend([STATUSES["503"][0], HangUp()])
        completion = await answer(model, QUICK)
        assert completion.message.content.startswith("Hello")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_what_is_not_worth_repeating_is_not(provider: str) -> None:
    with serving(provider) as (server, model):
        server.faults.append(STATUSES["401"][0])
        with pytest.raises(AuthenticationFailed):
            await answer(model, QUICK)
        assert len(server.requests) == 1


async def test_retry_after_in_seconds_and_as_a_date() -> None:
    later = email.utils.formatdate(time.time() + 90, usegmt=True)
    for value, lowest, highest in (("7", 7, 7), ("1.5", 1.5, 1.5), (later, 80, 90), ("-3", 0, 0)):
        error = Server("server", "x").refused(429, b"", {"retry-after": value})
        assert isinstance(error, RateLimited)
        assert error.retry_after is not None
        assert lowest <= error.retry_after <= highest
    for value in ("", "soon", "inf"):
        error = Server("server", "x").refused(429, b"", {"retry-after": value})
        assert isinstance(error, RateLimited)
        assert error.retry_after is None


async def test_a_server_that_asks_for_too_much_patience_is_not_asked_again() -> None:
    with OpenAIServer() as server:
        server.faults.append(Status(429, said("Slow down."), {"retry-after": "3600"}))
        with pytest.raises(RateLimited):
            await answer(connect("openai/test", endpoint=server.url), QUICK)
        assert len(server.requests) == 1


async def test_a_model_that_ollama_lacks_names_the_command() -> None:
    with OllamaServer() as server:
        with pytest.raises(ModelNotFound, match=r"ollama pull llama3\.2:3b"):
            await answer(connect("ollama/llama3.2:3b", endpoint=server.url))
        with pytest.raises(ModelNotFound, match=r"ollama pull llama3\.2:3b"):
            await answer(connect("raw/llama3.2:3b", endpoint=f"{server.url}/api/generate"))


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        for provider in ("openai", "ollama", "raw", "llama-stack"):
            options = {"family": "llama3.2"} if provider == "raw" else {}
            with pytest.raises(ConnectionFailed, match="Check that the server runs"):
                await answer(connect(f"{provider}/x", endpoint=endpoint, **options))


async def test_no_such_host() -> None:
    cause = httpx.ConnectError("[Errno -2] Name or service not known")
    cause.__cause__ = socket.gaierror(-2, "Name or service not known")
    error = Server("server", "x").unreachable(cause, shown=False)
    assert isinstance(error, ConnectionFailed)
    assert "cannot be found" in str(error)


async def test_no_tls_there() -> None:
    with OpenAIServer() as server:
        endpoint = server.url.replace("http:", "https:")
        with pytest.raises(ConnectionFailed, match="secure connection"):
            await answer(connect("openai/test", endpoint=endpoint))
    cause = httpx.ConnectError("boom")
    cause.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    assert "certificate" in str(Server("server", "x").unreachable(cause, shown=False))


async def test_the_first_token_has_a_limit_of_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # connections wait in its queue for ever
        endpoint = f"http://127.0.0.1:{mute.getsockname()[1]}/v1"
        with pytest.raises(InferenceTimeout, match=r"silent for 0\.05 seconds"):
            await answer(connect("openai/x", endpoint=endpoint), Retries(limit=0, first_token=0.05))


@pytest.mark.parametrize("provider", ["openai", "ollama", "raw", "llama-stack"])
async def test_a_key_is_sent_and_never_shown(provider: str) -> None:
    key = "sk-very-secret-1234567890"
    options = {"family": "llama3.2"} if provider == "raw" else {}
    with OpenAIServer(key="another") as server:
        model = connect(f"{provider}/test", endpoint=server.url, api_key=key, **options)
        server.faults.append(Status(401, said(f"Incorrect API key provided: {key}.")))
        with pytest.raises(AuthenticationFailed) as caught:
            await answer(model)
        assert server.requests[0].headers["authorization"] == f"Bearer {key}"
        seen: BaseException | None = caught.value
        while seen is not None:
            assert key not in f"{seen!s} {seen!r}"
            seen = seen.__cause__
        assert key not in repr(model) + repr(model._server)  # type: ignore[attr-defined]


async def test_credentials_in_the_endpoint_are_not_shown() -> None:
    with OpenAIServer() as server:
        endpoint = server.url.replace("http://", "http://user:hunter2@")
        server.faults.append(Status(500))
        model = connect("openai/test", endpoint=endpoint)
        with pytest.raises(ServerFailed) as caught:
            await answer(model)
        assert "hunter2" not in f"{caught.value} {model!r}"


async def test_a_huge_error_page_is_cut() -> None:
    with OpenAIServer(manner=Manner()) as server:
        server.faults.append(Status(500, b"x" * 3_000_000, content_type="text/plain"))
        with pytest.raises(ServerFailed) as caught:
            await answer(connect("openai/test", endpoint=server.url))
        assert len(str(caught.value)) < 700
