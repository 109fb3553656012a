"""`agentic session replay`, `prune`, `export`, `import`; `--file`; and a session whose name is empty."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.script import Agentic, Script, Start, calls, text

LISBON = ("call_1", "weather", '{"city": "Lisbon"}')


@pytest.fixture
def trip(script: Start, agentic: Agentic) -> Script:
    """A session of two turns, the first with a call."""
    server = script([calls(LISBON), text("19 °C."), text("You are welcome.")])
    for question in ("Weather?", "Thanks."):
        assert agentic("run", question, "--session", "trip", "--tools", "kit:weather").exit_code == 0
    return server


def test_replay(trip: Script, agentic: Agentic) -> None:
    asked = len(trip.requests)
    result = agentic("session", "replay", "trip")
    assert (result.exit_code, result.stdout) == (0, "trip: 2 turns, the same steps\n")
    with_agent = agentic("session", "replay", "trip", "--agent", "--tools", "kit:weather")
    assert (with_agent.exit_code, with_agent.stdout) == (0, "trip: 2 turns, the same steps\n")
    assert "a tool that prints" not in with_agent.output
    assert len(trip.requests) == asked, "the model was not asked"


def test_replay_with_an_agent_that_changed(trip: Script, agentic: Agentic) -> None:
    result = agentic("session", "replay", "trip", "--agent", "--tools", "kit:weather", "-i", "Be kind.")
    assert result.exit_code == 1
    assert [line.partition(" was ")[0] for line in result.stdout.splitlines()] == [
        "turn 1, step 1: exact prompt",
        "turn 1, step 3: exact prompt",
        "turn 2, step 1: exact prompt",
    ]
    assert result.stderr == "trip: 2 turns, 3 differences\n"
    turn = json.loads(agentic("session", "show", "trip", "--json").stdout)["turns"][1]["turn_id"]
    data = json.loads(agentic("session", "replay", "trip", "--json", "--turn", turn[:8]).stdout)
    assert data == {"same": True, "turns": 1, "differences": []}


def test_replay_of_nothing(agentic: Agentic) -> None:
    assert agentic("session", "replay", "nobody").exit_code == 2


def test_export_and_import(trip: Script, agentic: Agentic, tmp_path: Path) -> None:
    exported = agentic("session", "export", "trip")
    assert exported.stderr == "Exported 1 sessions.\n"
    file = tmp_path / "trip.jsonl"
    file.write_bytes(exported.stdout_bytes)
    assert all(json.loads(line) for line in file.read_bytes().splitlines())

    taken = agentic("session", "import", str(file))
    assert taken.exit_code == 2
    assert "already a session 'trip'" in taken.stderr
    assert agentic("session", "import", str(file), "--as", "copy").stderr == "Imported copy.\n"
    assert agentic("session", "import", str(file), "--store", "other.db").exit_code == 0
    assert agentic("session", "verify", "copy").stdout == agentic("session", "verify", "trip").stdout.replace(
        "trip", "copy"
    )
    assert agentic("session", "export", "--all").stdout_bytes.count(b'"format"') == 2

    file.write_bytes(file.read_bytes().replace(b"Lisbon", b"Madrid"))
    altered = agentic("session", "import", str(file), "--as", "altered")
    assert altered.exit_code == 2
    assert "does not match its hash" in altered.stderr


def test_export_wants_names_or_all(agentic: Agentic) -> None:
    assert agentic("session", "export").exit_code == 2
    assert agentic("session", "export", "a", "--all").exit_code == 2
    assert agentic("session", "import", "missing.jsonl").exit_code == 2


def test_prune(trip: Script, agentic: Agentic) -> None:
    assert agentic("session", "fork", "trip", "side").exit_code == 0
    assert agentic("session", "prune", "--older-than", "1d").stderr == "0 removed.\n"
    dry = agentic("session", "prune", "--older-than", "0m", "--dry-run")
    assert (dry.stdout, dry.stderr) == ("side\ntrip\n", "2 would be removed.\n")
    assert agentic("session", "prune", "--older-than", "0s").stdout == "side\ntrip\n"
    assert agentic("session", "ls", "--json").stdout == "[]\n"


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1y", "٣d", "999999d"])
def test_prune_of_no_age(agentic: Agentic, age: str) -> None:
    result = agentic("session", "prune", "--older-than", age)
    assert result.exit_code == 2
    assert "is no age" in result.stderr


@pytest.mark.parametrize("command", [("run", "Hello"), ("run",), ("chat",)])
def test_a_session_whose_name_is_empty(script: Start, agentic: Agentic, command: tuple[str, ...]) -> None:
    server = script([text("Hi.")])
    result = agentic(*command, "--session", "")
    assert result.exit_code == 2
    assert "session id must not be empty" in result.stderr
    assert not server.requests
    assert agentic("session", "ls", "--json").stdout == "[]\n"


def test_a_file_for_the_tools(script: Start, agentic: Agentic, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    server = script([text("Two columns.")])
    assert agentic("run", "What is in it?", "--file", "data.csv", "--session", "s").exit_code == 0
    assert "[file data.csv, 8 bytes]" in json.dumps(server.requests[0].json)
    assert "1,2" not in json.dumps(server.requests[0].json)
    missing = agentic("run", "And now?", "--file", "nothing.csv")
    assert missing.exit_code == 2
    assert "Cannot read the file" in missing.stderr
    assert agentic("run", "--session", "s", "--file", "data.csv").exit_code == 2
