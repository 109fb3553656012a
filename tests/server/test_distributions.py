"""The ready-made files are served as they are, and the schema that is published is the one they are read by."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from agentic.config import Config, ServerConfig
from agentic.stack import Stack

from .serving import served

FILES = sorted((Path(__file__).parent.parent.parent / "examples" / "distributions").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_ready_made_file_is_served(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stack = Stack.from_config(file)
    with served(stack, settings=ServerConfig(port=0)) as server, httpx.Client(base_url=server.url) as client:
        models = [model["identifier"] for model in client.get("/v1/models").json()["data"]]
        assert "default" in models
        groups = [group["identifier"] for group in client.get("/v1/toolgroups").json()["data"]]
        assert groups == stack.config.toolgroups
        shields = [shield["identifier"] for shield in client.get("/v1/shields").json()["data"]]
        assert shields == list(stack.config.shields)
        banks = [bank["identifier"] for bank in client.get("/v1/vector-dbs").json()["data"]]
        assert banks == list(stack.config.banks)


def test_the_schema_is_published() -> None:
    command = [sys.executable, "-m", "agentic", "serve", "--schema"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    schema = json.loads(printed)
    assert set(schema["properties"]) == set(Config.model_fields)
    assert schema["additionalProperties"] is False
