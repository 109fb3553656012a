"""`agentic session` and `agentic prompt`: what was stored can be read, forked, verified and removed."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cli.script import Agentic, Says, Script, Start, calls, text
from servers.base import Status

LISBON = ("call_1", "weather", '{"city": "Lisbon"}')


@pytest.fixture
def trip(script: Start, agentic: Agentic) -> Script:
    """A session of two turns, the first with a call."""
    server = script([Says(("I look.",), (LISBON,)), text("19 °C."), text("You are welcome."), text("Forked.")])
    for question in ("Weather?", "Thanks."):
        assert agentic("run", question, "--session", "trip", "--tools", "kit:weather").exit_code == 0
    return server


def shown(agentic: Agentic, name: str, *arguments: str) -> Any:
    return json.loads(agentic("session", "show", name, "--json", *arguments).stdout)


def test_ls(trip: Script, agentic: Agentic) -> None:
    name, changed, model, parent = agentic("session", "ls").stdout.removesuffix("\n").split("\t")
    assert (name, model, parent) == ("trip", "openai/test", "")
    datetime.fromisoformat(changed)
    assert [session["session_id"] for session in json.loads(agentic("session", "ls", "--json").stdout)] == ["trip"]


def test_ls_without_sessions(agentic: Agentic) -> None:
    result = agentic("session", "ls")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No sessions yet.\n")
    assert agentic("session", "ls", "--json").stdout == "[]\n"


def test_show(trip: Script, agentic: Agentic) -> None:
    output = re.sub(r"[0-9a-f]{8}  .*", "ID", agentic("session", "show", "trip").stdout)
    assert re.sub(r"(?m)^.*\d m?s$", "COST", output).splitlines() == [
        "turn 1  ID",
        "user: Weather?",
        "  inference  ID",
        "    I look.",
        "  tool_execution  ID",
        '    weather(city="Lisbon")',
        "      → Lisbon: 19 °C…",
        "  inference  ID",
        "assistant: 19 °C.",
        "COST",
        "",
        "turn 2  ID",
        "user: Thanks.",
        "  inference  ID",
        "assistant: You are welcome.",
        "COST",
        "",
    ]


def test_show_as_json_with_prompts(trip: Script, agentic: Agentic) -> None:
    session = shown(agentic, "trip", "--prompt")
    assert [turn["output"]["content"] for turn in session["turns"]] == ["19 °C.", "You are welcome."]
    prompts = [json.loads(prompt) for prompt in session["prompts"].values()]
    assert [prompt["messages"] for prompt in prompts] == [request.json["messages"] for request in trip.requests]


def test_prompt_show_is_exactly_what_was_sent(trip: Script, agentic: Agentic) -> None:
    last = agentic("prompt", "show", "trip")
    assert json.loads(last.stdout)["messages"] == trip.requests[-1].json["messages"]
    steps = shown(agentic, "trip")["turns"][0]["steps"]
    first = agentic("prompt", "show", "trip", steps[0]["step_id"][:8])
    assert json.loads(first.stdout)["messages"] == trip.requests[0].json["messages"]
    assert last.stderr == "\n--- the model wrote (end_of_turn):\nYou are welcome.\n"
    assert first.stderr.endswith('(end_of_message):\nI look.\ncalls weather(city="Lisbon")\n')
    assert agentic("prompt", "show", "trip", steps[1]["step_id"]).exit_code == 2  # a tool execution has none


def test_a_step_that_does_not_exist(trip: Script, agentic: Agentic) -> None:
    for command in (("prompt", "show", "trip", "zzz"), ("session", "fork", "trip", "new", "--at", "zzz")):
        result = agentic(*command)
        assert result.exit_code == 2
        assert "'zzz'" in result.stderr


def test_first_letters_that_fit_several_steps(trip: Script, agentic: Agentic) -> None:
    result = agentic("prompt", "show", "trip", "")  # every id begins with nothing
    assert (result.exit_code, result.stdout) == (2, "")


def test_fork(trip: Script, agentic: Agentic) -> None:
    first = shown(agentic, "trip")["turns"][0]["turn_id"]
    assert agentic("session", "fork", "trip", "other", "--at", first[:8]).exit_code == 0
    agentic("run", "And now?", "--session", "other", "--tools", "kit:weather")
    outputs = [turn["output"]["content"] for turn in shown(agentic, "other")["turns"]]
    assert outputs == ["19 °C.", "Forked."]
    assert len(shown(agentic, "trip")["turns"]) == 2
    made = agentic("session", "fork", "trip").stdout.strip()
    assert len(shown(agentic, made)["turns"]) == 2
    taken = agentic("session", "fork", "trip", "other")
    assert taken.exit_code == 2
    removed = agentic("session", "rm", "trip")
    assert removed.exit_code == 2  # the fork needs it


def test_rm(trip: Script, agentic: Agentic) -> None:
    assert agentic("session", "rm", "trip").exit_code == 0
    assert agentic("session", "ls").stdout == ""
    gone = agentic("session", "rm", "trip")
    assert (gone.exit_code, gone.stderr) == (2, "Error: There is no session 'trip'.\n")


def test_verify(trip: Script, agentic: Agentic, tmp_path: Path) -> None:
    result = agentic("session", "verify")
    assert result.exit_code == 0
    assert "all intact" in result.stdout
    assert json.loads(agentic("session", "verify", "trip", "--json").stdout)["trip"] > 5
    first = shown(agentic, "trip")["turns"][0]["steps"][0]["step_id"]
    assert agentic("session", "fork", "trip", "early", "--at", first).exit_code == 0
    with closing(sqlite3.connect(tmp_path / "data" / "sessions.db")) as database, database:
        changed = database.execute(
            "update agentic_records set body = cast(replace(body, 'welcome', 'mistaken') as blob)"
            " where instr(body, cast('welcome' as blob))"
        )
        assert changed.rowcount > 0
    tampered = agentic("session", "verify")
    assert tampered.exit_code == 4
    assert "Traceback" not in tampered.output
    assert tampered.stdout == "early: 3 records, all intact\n"  # what is damaged keeps nobody from the rest
    assert "of session 'trip' does not match its hash" in tampered.stderr
    assert json.loads(agentic("session", "verify", "--json").stdout) == {"early": 3, "trip": None}
    exported = agentic("session", "export", "--all")
    assert (exported.exit_code, "Exported 1 sessions." in exported.stderr) == (4, True)
    assert json.loads(exported.stdout.splitlines()[0])["session_id"] == "early"


@pytest.mark.parametrize(
    "command",
    [
        ("session", "show", "nope"),
        ("session", "verify", "nope"),
        ("session", "fork", "nope", "x"),
        ("prompt", "show", "nope"),
    ],
)
def test_a_session_that_does_not_exist(command: tuple[str, ...], agentic: Agentic) -> None:
    result = agentic(*command)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'nope'" in result.stderr


def test_a_turn_that_failed_and_one_that_made_no_answer_can_be_shown(script: Start, agentic: Agentic) -> None:
    server = script([calls(LISBON)] * 3)
    server.faults = [Status(400, {"error": {"message": "no"}}), None, None]
    agentic("run", "One", "--session", "bad", "--tools", "kit:weather")
    agentic("run", "Two", "--session", "bad", "--tools", "kit:weather", "--max-iters", "2")
    output = agentic("session", "show", "bad").stdout
    assert "Failed: RequestRejected" in output
    assert "--max-iters" in output
