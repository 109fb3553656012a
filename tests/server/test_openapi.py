"""What `/openapi.json` says is true of the answers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from agentic.config import Config
from agentic.server import create_app
from agentic.server.llama_stack import answers
from agentic.stack import Stack
from agentic.testing import ScriptedModel

from .captures import Exchange
from .test_captures import DIRECT, play


@pytest.fixture(scope="module")
def paths() -> dict[str, Any]:
    document: dict[str, Any] = create_app(Stack(Config(store=None))).openapi()
    return dict(document["paths"])


def schema_of(paths: dict[str, Any], exchange: Exchange) -> str | None:
    """The name of the schema of an answer, or None where it is `null`."""
    path = exchange.path.partition("?")[0]
    for template, methods in paths.items():
        pattern = re.sub(r"\\\{[a-z_]*id\\\}|\\\{[a-z_]+\\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path) and exchange.method.lower() in methods:
            answered = methods[exchange.method.lower()]["responses"]["200"]["content"]["application/json"]["schema"]
            return str(answered["$ref"]).rpartition("/")[2] if "$ref" in answered else None
    raise AssertionError(f"{exchange.method} {path} is not documented.")


@pytest.mark.parametrize("name", ["s02", "s17", "s19", "s23", "s25", "s27", "s31", "s32"])
def test_answers_are_as_documented(name: str, paths: dict[str, Any]) -> None:
    model = ScriptedModel([DIRECT[name]]) if name in DIRECT else None
    model = ScriptedModel(["Hello!"]) if name == "s17" else model
    for _, played in play(name, model):
        if played.streamed or played.status != 200:
            continue
        schema = schema_of(paths, played)
        if schema is None:
            assert played.answer is None
        else:
            getattr(answers, schema).model_validate(played.answer)


def test_every_refusal_is_documented(paths: dict[str, Any]) -> None:
    for template, methods in paths.items():
        for method, operation in methods.items():
            assert {"4XX", "5XX"} <= operation["responses"].keys(), f"{method} {template}"
            assert "422" not in operation["responses"]
