"""Model strings, endpoints and the environment."""

from __future__ import annotations

import asyncio

import pytest

from agentic.inference import connect
from agentic.inference.ollama import host_url
from agentic.inference.raw import Raw
from agentic.types import ConfigError


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("nothing/x", "'nothing'"),
        ("llama3", "provider/model"),
        ("openai/", "provider/model"),
        ("", "provider/model"),
        ("openai/x", "OPENAI_BASE_URL"),
        ("raw/llama3.2", "RAW_BASE_URL"),
        ("llama-stack/x", "LLAMA_STACK_BASE_URL"),
    ],
)
def test_what_is_missing_is_said(model: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        connect(model)


def test_an_unknown_provider_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"llama-stack, local, ollama, openai, raw"):
        connect("nothing/x")


@pytest.mark.parametrize("endpoint", ["127.0.0.1:8000", "ftp://x/v1", "http://", "http://[", "", "http://a b/v1"])
def test_an_endpoint_is_a_url(endpoint: str) -> None:
    with pytest.raises(ConfigError):
        connect("openai/x", endpoint=endpoint)


def test_an_unknown_option_is_said() -> None:
    with pytest.raises(ConfigError, match="colour"):
        connect("openai/x", endpoint="http://127.0.0.1:1", colour="blue")


def test_an_endpoint_without_a_provider_is_openai_compatible() -> None:
    for name in ("llama3", "meta-llama/Llama-3.3-70B-Instruct"):
        assert connect(name, endpoint="http://127.0.0.1:8000/v1").model == f"openai/{name}"
    assert connect("ollama/x", endpoint="http://127.0.0.1:1").model == "ollama/x"


@pytest.mark.parametrize(
    ("variable", "value", "model", "shown"),
    [
        ("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1", "openai/x", "http://127.0.0.1:8000/v1"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:8000/", "openai/x", "http://127.0.0.1:8000/v1"),
        ("OPENAI_API_KEY", "sk-1", "openai/x", "https://api.openai.com/v1"),
        ("OLLAMA_HOST", "0.0.0.0:5000", "ollama/x", "http://127.0.0.1:5000"),
        ("LLAMA_STACK_BASE_URL", "http://127.0.0.1:8321/v1", "llama-stack/x", "http://127.0.0.1:8321"),
        ("RAW_BASE_URL", "http://127.0.0.1:8000", "raw/llama3.1", "http://127.0.0.1:8000/v1"),
    ],
)
def test_the_environment(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, model: str, shown: str) -> None:
    monkeypatch.setenv(variable, value)
    connected = connect(model)
    assert repr(connected).endswith(f"{shown!r})")
    assert connected.model == model


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("example.org", "http://example.org:11434"),
        ("example.org:1234", "http://example.org:1234"),
        ("http://example.org", "http://example.org:80"),
        ("https://example.org", "https://example.org:443"),
        ("https://example.org:1234/ollama/", "https://example.org:1234/ollama"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("[::]:1234", "http://[::1]:1234"),
        ("::1", "http://[::1]:11434"),
        (":5000", "http://127.0.0.1:5000"),
        ("example.org:port", "http://example.org:11434"),
        (' "example.org" ', "http://example.org:11434"),
        ("http://127.0.0.1:11434/v1", "http://127.0.0.1:11434"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(host: str, url: str) -> None:
    assert host_url(host) == url


@pytest.mark.parametrize(
    ("endpoint", "route"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1/completions"),
        ("http://127.0.0.1:8000/v1/completions", "http://127.0.0.1:8000/v1/completions"),
        ("http://127.0.0.1:8080/completion", "http://127.0.0.1:8080/completion"),
        ("http://127.0.0.1:11434/api/generate/", "http://127.0.0.1:11434/api/generate"),
    ],
)
def test_the_path_says_which_text_completion_it_is(endpoint: str, route: str) -> None:
    raw = connect("raw/llama3.2", endpoint=endpoint)
    assert isinstance(raw, Raw)
    assert raw._http.endpoint + raw._route == route


def test_the_family_comes_from_the_name_or_the_caller() -> None:
    with pytest.raises(ConfigError, match="family="):
        connect("raw/mymodel", endpoint="http://127.0.0.1:1")
    with pytest.raises(ConfigError):
        connect("raw/mymodel", endpoint="http://127.0.0.1:1", family="mistral")
    for options in ({"family": "llama3.1"}, {"family": "meta-llama/Llama-3.2-11B-Vision-Instruct"}):
        connect("raw/mymodel", endpoint="http://127.0.0.1:1", **options)


def test_a_key_with_a_line_break_is_refused() -> None:
    with pytest.raises(ConfigError, match="line break"):
        connect("openai/x", endpoint="http://127.0.0.1:1", api_key="sk-1\n")


def test_closing_what_was_never_used_is_fine() -> None:
    for model in ("openai/x", "ollama/x", "llama-stack/x", "raw/llama3.2"):
        asyncio.run(connect(model, endpoint="http://127.0.0.1:1").aclose())
