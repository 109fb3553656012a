"""The command as a whole: light, with help, a version, and documented exit codes."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import click
import pytest

from agentic.cli import app
from agentic.cli.app import COMMANDS
from agentic.cli.exits import BUSY, CANCELLED, FAILED, STORE, USAGE, as_data, code_for, tell
from agentic.types import ConfigError, InferenceError, NotFound, SessionBusy, StoreCorrupt, TurnPending
from cli.script import Agentic

HEAVY = {"rich", "sqlalchemy", "prompt_toolkit", "numpy", "xllamacpp", "llama_stack_client", "faiss"}


def test_version(agentic: Agentic) -> None:
    assert agentic("--version").stdout == f"agentic {metadata.version('agentic')}\n"


def test_help_names_every_command_and_every_exit_code(agentic: Agentic) -> None:
    text = agentic("--help").stdout
    for command in COMMANDS:
        assert f"\n  {command} " in text
    for code in (FAILED, USAGE, BUSY, STORE, CANCELLED):
        assert f"\n    {code} " in text


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


@pytest.mark.parametrize("path", commands(app), ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...], agentic: Agentic) -> None:
    result = agentic(*path, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: agentic {' '.join(path)}")


def test_help_loads_nothing_heavy() -> None:
    code = f"""
import sys
from agentic.cli import app
app(["--help"], standalone_mode=False)
print(*sorted(sys.modules.keys() & {HEAVY!r}), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.split() == []


def test_an_unknown_command_is_a_usage_error(agentic: Agentic) -> None:
    assert agentic("dance").exit_code == USAGE


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InferenceError("x"), FAILED),
        (ValueError("x"), FAILED),
        (ConfigError("x"), USAGE),
        (NotFound("x"), USAGE),
        (TurnPending("x"), BUSY),
        (SessionBusy("x"), BUSY),
        (StoreCorrupt("x"), STORE),
        (KeyboardInterrupt(), CANCELLED),
    ],
)
def test_each_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert code_for(error) == code
    assert as_data(error)["exit_code"] == code


def test_errors_are_cleaned_and_an_unexpected_one_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    tell(InferenceError("a\x1b[31mb", hint="Do c."))
    tell(ValueError("odd"))
    tell(KeyboardInterrupt())
    first, hint, unexpected, cancelled = capsys.readouterr().err.splitlines()
    assert (first, hint, cancelled) == ("Error: ab", "Do c.", "Cancelled.")
    assert unexpected.startswith("Error: ValueError: odd (unexpected")


def test_ctrl_c_at_a_question_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("click.termui.visible_prompt_func", interrupted)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    with pytest.raises(SystemExit) as ended:
        app(["session", "rm", "trip"], prog_name="agentic")
    assert ended.value.code == CANCELLED
    assert capsys.readouterr().err.endswith("Cancelled.\n")
