"""The command, run in this process or in its own, and a model server that follows a script."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agentic.cli import app
from cli.script import Agentic, Says, Script, Spawn, Start

TOOLS = '''
from agentic import Tool, ToolContext, ToolError, tool


def weather(city: str, days: int = 1) -> str:
    """The weather in a city."""
    print("a tool that prints")
    return f"{city}: {18 + days} °C\\nand more"


def broken(city: str = "") -> str:
    """Always fails."""
    raise RuntimeError("kaput \\x1b[31mred\\x07")


@tool(approve=True)
def book(city: str) -> str:
    """Books a room."""
    return f"A room in {city} is booked."


def slow(city: str, context: ToolContext) -> str:
    """Reports on its way."""
    context.report("half way")
    return "there"


both = [weather, broken]
number = 3
'''


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder with tools in it, and no settings of whoever runs the tests."""
    for name in ("AGENTIC_MODEL", "AGENTIC_DEBUG", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("PROMPT_TOOLKIT_NO_CPR", "1")  # nobody answers where the cursor is
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kit.py").write_text(TOOLS, encoding="utf-8")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a server with a script; from then on it is the default model."""
    with ExitStack() as stack:

        def start(replies: Iterable[Says]) -> Script:
            server = stack.enter_context(Script(replies))
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
            monkeypatch.setenv("AGENTIC_MODEL", "openai/test")
            return server

        yield start


@pytest.fixture
def agentic() -> Agentic:
    """Runs the command in this process; stdin is no terminal."""

    def run(*arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin, prog_name="agentic")

    return run


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Runs the command in a process of its own; what is left at the end is killed."""
    with ExitStack() as stack:

        def start(*arguments: str, **options: object) -> subprocess.Popen[str]:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
            process: subprocess.Popen[str] = subprocess.Popen(
                [sys.executable, "-m", "agentic", *arguments],
                encoding="utf-8",
                env=os.environ | {"PYTHONIOENCODING": "utf-8"},
                **pipes,  # type: ignore[call-overload]
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start
