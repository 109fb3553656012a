"""Keys: which source wins, what is stored and how, and that none is ever shown."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from agentic import keys
from agentic.cli import app
from agentic.types.errors import ConfigError, InvalidInput

NAME = "TAVILY_API_KEY"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "config" / "keys"


def test_a_request_wins_over_the_environment_and_that_over_the_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    assert keys.find(NAME) is None
    keys.store(NAME, "stored")
    assert keys.find(NAME) == "stored"
    monkeypatch.setenv(NAME, " environment\n")
    assert keys.find(NAME) == "environment"
    with keys.given({NAME: "request"}):
        with keys.given({"OTHER_KEY": "more"}):
            assert (keys.find(NAME), keys.find("OTHER_KEY")) == ("request", "more")
        assert keys.find("OTHER_KEY", NAME) == "request"
    assert keys.find(NAME) == "environment"


def test_an_empty_variable_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "  ")
    keys.store(NAME, "stored")
    assert keys.find(NAME) == "stored"


def test_what_is_stored_can_be_read_by_its_owner_only(folder: Path) -> None:
    keys.store(NAME, "one")
    keys.store(NAME, "two\n")
    file = folder / NAME
    assert file.read_text() == "two"
    assert [path.name for path in folder.iterdir()] == [NAME]
    if os.name == "posix":
        assert (file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
        file.chmod(0o640)
        with pytest.raises(ConfigError, match="chmod 600"):
            keys.find(NAME)


def test_a_missing_key_is_named_with_what_to_do() -> None:
    with pytest.raises(ConfigError) as caught:
        keys.need("Web search", NAME, "BRAVE_SEARCH_API_KEY")
    assert str(caught.value) == (
        "Web search needs a key, and there is none. Set the environment variable TAVILY_API_KEY or "
        "BRAVE_SEARCH_API_KEY, or run: agentic keys set TAVILY_API_KEY"
    )


@pytest.mark.parametrize("name", ["", "../X", "a", "A/B", "A B", "1A", "A" * 65, "A\n"])
def test_a_name_is_an_environment_variables(name: str) -> None:
    with pytest.raises(InvalidInput):
        keys.store(name, "x")
    with pytest.raises(InvalidInput):
        keys.remove(name)


@pytest.mark.parametrize("value", ["", " ", "two words", "ключ", "a\x00b", "x" * 5000])
def test_what_is_no_key_is_refused_and_not_shown(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput) as caught:
        keys.store(NAME, value)
    assert len(value.strip()) < 2 or value.strip() not in str(caught.value)
    if value.strip() and "\x00" not in value:
        monkeypatch.setenv(NAME, value)
        with pytest.raises(ConfigError):
            keys.find(NAME)


def test_many_may_store_at_once(folder: Path) -> None:
    names = [f"KEY_{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: keys.store(name, name.lower()), names * 3))
    assert keys.stored() == sorted(names)
    assert [keys.find(name) for name in names] == [name.lower() for name in names]
    assert len(list(folder.iterdir())) == 20


def test_a_folder_that_cannot_be_used_is_said(folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("a file")
    assert keys.stored() == []
    with pytest.raises(ConfigError, match="cannot be stored"):
        keys.store(NAME, "x")
    with pytest.raises(ConfigError, match="cannot be removed"):
        keys.remove(NAME)
    with pytest.raises(ConfigError, match="cannot be read"):
        keys.find(NAME)


def test_the_command_stores_lists_and_removes_without_showing() -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["keys", "set", NAME], input="tvly-secret\n")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", f"Stored {NAME}.\n")
    assert keys.find(NAME) == "tvly-secret"
    listed = runner.invoke(app, ["keys", "ls"])
    assert (listed.exit_code, listed.stdout) == (0, f"{NAME}\n")
    assert runner.invoke(app, ["keys", "ls", "--json"]).stdout == f'["{NAME}"]\n'
    assert runner.invoke(app, ["keys", "rm", NAME]).exit_code == 0
    assert keys.stored() == []
    again = runner.invoke(app, ["keys", "rm", NAME])
    assert (again.exit_code, again.stdout) == (2, "")
    refused = runner.invoke(app, ["keys", "set", "nope"], input="tvly-secret")
    assert refused.exit_code == 2
    assert "tvly" not in refused.output
    typed = runner.invoke(app, ["keys", "set", NAME, "tvly-secret"])
    assert (typed.exit_code, typed.stdout, keys.stored()) == (2, "", [])
    assert "does not belong on the command line" in typed.stderr
    assert "tvly" not in typed.stderr
