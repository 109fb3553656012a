"""`agentic shields`, by the installed entry points."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agentic.cli import app
from servers.guard import GuardBrain
from servers.ollama import OllamaServer


def agentic(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["shields", *arguments])


def test_the_listing_says_where_each_looks_and_what_is_missing() -> None:
    rows = {row["shield"]: row for row in json.loads(agentic("ls", "--json").stdout)}
    assert "No guard model is named" in rows["llama_guard"]["problem"]
    assert "llama_guard::*" in rows
    listed = agentic("ls")
    assert listed.exit_code == 0
    assert "llama_guard" in listed.stdout


@pytest.mark.parametrize(("text", "code"), [("hurt my neighbour", 1), ("How are you?", 0)])
def test_a_text_is_judged_and_the_exit_code_tells(text: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with OllamaServer(GuardBrain(), model="llama-guard3:1b") as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        shield = "llama_guard::ollama/llama-guard3:1b"
        shown = agentic("test", text, "--shield", shield)
        assert shown.exit_code == code
        assert ("blocks  (S1, Violent Crimes, ollama/llama-guard3:1b" in shown.stdout) is bool(code)
        for role in ("assistant", "tool", "code"):
            (verdict,) = json.loads(agentic("test", text, "-s", shield, "--role", role, "--json").stdout)
            assert verdict["blocked"] is bool(code)
            assert verdict["shield_id"] == shield
            assert text in verdict["prompt"]


def test_nothing_is_fetched_for_a_test_that_did_not_ask_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTIC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("agentic.cli.shields._installed", lambda: ["prompt_guard", "injection"])
    tested = agentic("test", "Hello")
    assert tested.exit_code == 0
    assert "prompt_guard: cannot be used as it is" in tested.stderr
    assert not list(tmp_path.iterdir())
    rows = {row["shield"]: row for row in json.loads(agentic("ls", "--json").stdout)}
    assert "agentic models pull" in rows["prompt_guard"]["problem"]


def test_what_cannot_be_asked_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = agentic("test", "Hi", "--shield", "nonsense")
    assert nothing.exit_code != 0
    monkeypatch.setattr("agentic.cli.shields._installed", lambda: ["llama_guard"])
    everything = agentic("test", "Hi")
    assert "llama_guard: cannot be used as it is" in everything.stderr
