"""`agentic run`: what goes where, what it ends with, and what happens when it is interrupted."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cli.script import Agentic, Says, Spawn, Start, calls, text
from servers.base import HangUp, StallAfter, Status
from servers.brain import weather_brain
from servers.openai import OpenAIServer

LISBON = ("call_1", "weather", '{"city": "Lisbon"}')


def lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_the_answer_goes_to_stdout_and_the_steps_to_stderr(script: Start, agentic: Agentic) -> None:
    script([Says(("Let me ", "look."), (LISBON,)), text("It is ", "19 °C.")])
    result = agentic("run", "Weather in Lisbon?", "--tools", "kit:weather")
    assert (result.exit_code, result.stdout) == (0, "It is 19 °C.\n")
    steps = result.stderr.splitlines()
    steps.remove("a tool that prints")
    call, outcome, end = steps
    assert call == '● weather(city="Lisbon")'
    assert outcome.startswith("  └ Lisbon: 19 °C… · ")
    assert ", session " in end


def test_events_are_json_lines_and_nothing_else(script: Start, agentic: Agentic) -> None:
    script([calls(LISBON), text("It is 19 °C.")])
    result = agentic("run", "Weather?", "--tools", "kit.py:weather", "--json")
    events = lines(result.stdout)
    assert [event["type"] for event in events if "delta" not in event["type"]] == [
        "turn_started",
        *("step_started", "tool_call_progress", "step_completed"),
        *("step_started", "tool_call_started", "tool_call_completed", "step_completed"),
        *("step_started", "step_completed"),
        "turn_completed",
    ]
    assert events[-1]["turn"]["output"]["content"] == "It is 19 °C."
    assert result.stderr == "a tool that prints\n"


LOUD = '''
import os
import subprocess

print("a module that prints")


def weather(city: str) -> str:
    """The weather in a city."""
    print("a tool that prints")
    subprocess.run(["echo", "a child that prints"], check=True)
    os.write(1, b"a library that prints\\n")
    return "19 °C"
'''


def test_stdout_is_the_answer_alone_whoever_else_writes_there(script: Start, spawn: Spawn, tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(LOUD, encoding="utf-8")
    script([calls(LISBON), text("It is 19 °C.")] * 2)
    tool = ("--tools", "loud.py:weather", "--store", "none")
    plain, said = spawn("run", "Weather?", *tool).communicate(timeout=30)
    events, _ = spawn("run", "Weather?", "--json", *tool).communicate(timeout=30)
    result, _ = spawn("tools", "call", "loud.py:weather", "city=Lisbon", "--json").communicate(timeout=30)
    assert plain == "It is 19 °C.\n"
    for who in ("module", "tool", "child", "library"):
        assert f"a {who} that prints" in said  # the steps may come between it and its end of line
    assert lines(events)[-1]["type"] == "turn_completed"
    assert [line["content"] for line in lines(result)] == ["19 °C"]


def test_an_error_is_two_lines_or_one_line_of_json(script: Start, agentic: Agentic) -> None:
    server = script([])
    server.faults = [Status(401, {"error": {"message": "no"}})] * 2
    plain = agentic("run", "Hi")
    assert plain.exit_code == 1
    assert plain.stdout == ""
    assert plain.stderr.startswith("Error: ")
    assert "Traceback" not in plain.stderr
    as_json = agentic("run", "Hi", "--json")
    assert as_json.exit_code == 1
    last = lines(as_json.stdout)[-1]
    assert (last["type"], last["error"], last["exit_code"]) == ("error", "AuthenticationFailed", 1)
    assert as_json.stderr == ""


def test_debug_keeps_the_traceback(script: Start, agentic: Agentic) -> None:
    script([]).faults = [Status(401)]
    result = agentic("--debug", "run", "Hi")
    assert type(result.exception).__name__ == "AuthenticationFailed"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Ask a question"),
        (("Hi", "--tools", "weather"), "module:function"),
        (("Hi", "--tools", "nowhere:f"), "no module 'nowhere'"),
        (("Hi", "--tools", "nowhere.py:f"), "cannot be read"),
        (("Hi", "--tools", "kit:wether"), "Did you mean 'weather'?"),
        (("Hi", "--tools", "kit:number"), "A tool is a function, not int"),
        (("Hi", "--tools", "builtin::nothing"), "'builtin::nothing'"),
        (("Hi", "--tools", "kit:weather", "--tools", "kit:both"), "Two tools are called 'weather'"),
        (("Hi", "--image", "missing.png"), "missing.png"),
        (("Hi", "--model", "nobody/x"), "nobody"),
        (("Hi", "--max-iters", "0"), "0 is not in the range"),
        (("   ",), "The message is empty"),
        (("--session", "never"), "There is no session 'never'"),
        (("Hi", "--session", "a\nb"), "control characters"),
    ],
)
def test_a_wrong_command_ends_with_2(arguments: tuple[str, ...], says: str, script: Start, agentic: Agentic) -> None:
    script([])
    result = agentic("run", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_a_tool_file_that_fails_to_import_is_named(script: Start, agentic: Agentic, tmp_path: Path) -> None:
    script([])
    (tmp_path / "bad.py").write_text("1 / 0")
    result = agentic("run", "Hi", "--tools", "bad.py:f")
    assert result.exit_code == 2
    assert "importing bad.py failed: ZeroDivisionError" in result.stderr


def test_tools_of_one_file_share_its_module_and_see_its_folder(script: Start, agentic: Agentic, tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    (folder / "beside_the_tool.py").write_text("WORD = 'beside'")
    (folder / "mine.py").write_text(
        "import beside_the_tool\ncount = []\n"
        "def one() -> str:\n    'One.'\n    count.append(1)\n    return beside_the_tool.WORD\n"
        "def two() -> str:\n    'Two.'\n    count.append(1)\n    return f'{len(count)} calls'\n"
    )
    script([calls(("a", "one", "{}")), calls(("b", "two", "{}")), text("Done.")])
    result = agentic("run", "Hi", "--tools", "deep/mine.py:one", "--tools", "deep/mine.py:two")
    assert "└ beside" in result.stderr
    assert "└ 2 calls" in result.stderr


def test_the_question_may_come_from_stdin(script: Start, agentic: Agentic) -> None:
    server = script([text("Yes.")])
    assert agentic("run", "-", stdin="a long\nquestion").stdout == "Yes.\n"
    assert server.requests[0].json["messages"][-1]["content"] == "a long\nquestion"


def test_an_image_reaches_the_model(script: Start, agentic: Agentic, tmp_path: Path) -> None:
    server = script([text("A dot.")])
    png = b"\x89PNG\r\n\x1a\n" + bytes(20)
    (tmp_path / "dot.png").write_bytes(png)
    assert agentic("run", "What is it?", "--image", "dot.png").exit_code == 0
    parts = server.requests[0].json["messages"][-1]["content"]
    assert [part["type"] for part in parts] == ["image_url", "text"]


def test_a_session_continues(script: Start, agentic: Agentic) -> None:
    server = script([text("Hello."), text("Again.")])
    agentic("run", "One", "--session", "trip", "--instructions", "Be brief.")
    agentic("run", "Two", "--session", "trip", "--instructions", "Be brief.")
    assert [message["content"] for message in server.requests[1].json["messages"]] == [
        *("Be brief.", "One", "Hello.", "Two")
    ]


def test_a_busy_session_ends_with_3(script: Start, agentic: Agentic, spawn: Spawn) -> None:
    server = script([text("never")] * 2)
    server.faults = [StallAfter(0)]
    first = spawn("run", "One", "--session", "trip")
    server.wait_for(1)
    result = agentic("run", "Two", "--session", "trip")
    assert (result.exit_code, result.stdout) == (3, "")
    first.kill()


def test_a_broken_store_ends_with_4(script: Start, agentic: Agentic, tmp_path: Path) -> None:
    script([text("never")])
    (tmp_path / "rubbish.db").write_bytes(b"no database at all" * 100)
    result = agentic("run", "Hi", "--store", "rubbish.db")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.startswith("Error: ")


def test_memory_only_keeps_nothing(script: Start, agentic: Agentic) -> None:
    script([text("Hello.")])
    result = agentic("run", "Hi", "--store", "none")
    assert result.exit_code == 0
    assert "session" not in result.stderr
    assert agentic("session", "ls").stdout == ""


# Approvals.

ROOM = ("call_1", "book", '{"city": "Porto"}')


def test_a_call_that_waits_is_explained_and_can_be_approved_later(script: Start, agentic: Agentic) -> None:
    script([calls(ROOM), text("Booked.")])
    command = ("run", "--session", "trip", "--tools", "kit:book")
    for arguments in (("Book it.",), (), ("And now?",)):
        waits = agentic(*command, *arguments)
        assert waits.exit_code == 3
        assert 'book(city="Porto") waits for your approval' in waits.stderr
        assert "--approve all" in waits.stderr
    done = agentic(*command, "--approve", "all")
    assert (done.exit_code, done.stdout) == (0, "Booked.\n")
    assert "└ A room in Porto is booked." in done.stderr
    assert "nothing to take up" in agentic(*command, "--approve", "all").stderr


def test_a_denied_call_does_not_run(script: Start, agentic: Agentic) -> None:
    server = script([calls(ROOM), text("As you wish.")])
    result = agentic("run", "Book it.", "--tools", "kit:book", "--approve", "none")
    assert result.stdout == "As you wish.\n"
    assert "did not allow" in server.requests[1].json["messages"][-1]["content"]


def test_a_terminal_is_asked_and_sees_all_of_the_call(script: Start, spawn: Spawn) -> None:
    city = "Porto\n\x1b[2J" + "x" * 1000 + "\u202edne eht"
    server = script([calls(("call_1", "book", json.dumps({"city": city}))), text("As you wish.")])
    with open_terminal() as (keyboard, terminal):
        process = spawn("run", "Book it.", "--tools", "kit:book", stdin=terminal)
        os.write(keyboard, b"too expensive\n")
        stdout, stderr = process.communicate(timeout=30)
    assert stdout == "As you wish.\n"
    question = 'book {\n  "city": "Porto\\n\\u001b[2J' + "x" * 1000 + '\\u202edne eht"\n}\nAllow this call?'
    assert question in stderr
    assert "too expensive" in server.requests[1].json["messages"][-1]["content"]


class open_terminal:  # noqa: N801 - used as a function
    """A pseudo-terminal: what is written to the first descriptor is typed at the second."""

    def __enter__(self) -> tuple[int, int]:
        self.ends = pty.openpty()
        return self.ends

    def __exit__(self, *_: object) -> None:
        for end in self.ends:
            os.close(end)


def test_a_terminal_sees_the_text_as_it_comes(script: Start, spawn: Spawn) -> None:
    server = script([text("Once ", "upon", "a time")])
    server.faults = [StallAfter(2)]
    with open_terminal() as (screen, terminal):
        process = spawn("run", "Tell me.", stdout=terminal, stderr=subprocess.DEVNULL)
        seen = b""
        while b"upon" not in seen:  # the answer is not complete and never will be
            seen += os.read(screen, 1000)
        process.kill()
    assert seen.endswith(b"Once upon")


# Interruptions.


def test_ctrl_c_cancels_the_turn_and_says_how_to_go_on(script: Start, agentic: Agentic, spawn: Spawn) -> None:
    server = script([text("Once ", "upon a time"), text("Hello again.")])
    server.faults = [StallAfter(1)]
    process = spawn("run", "Tell me.", "--session", "tale")
    request = server.wait_for(1)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (130, "")
    assert "--session tale" in stderr
    assert "Traceback" not in stderr
    assert request.gone.wait(10)
    turn = json.loads(agentic("session", "show", "tale", "--json").stdout)["turns"][-1]
    assert (turn["status"], turn["reason"]) == ("completed", "cancelled")
    assert agentic("run", "Go on.", "--session", "tale").stdout == "Hello again.\n"


def test_ctrl_c_is_an_event_too(script: Start, spawn: Spawn) -> None:
    server = script([text("never")])
    server.faults = [StallAfter(0)]
    process = spawn("run", "Hi", "--json")
    server.wait_for(1)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (130, "")
    assert lines(stdout)[-1]["error"] == "Cancelled"


def test_a_closed_pipe_is_quiet_and_ends_the_turn(script: Start, agentic: Agentic, spawn: Spawn) -> None:
    server = script([Says(calls=(LISBON,))] * 20)
    process = spawn("run", "Hi", "--json", "--session", "piped", "--tools", "kit:weather")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert set(process.stderr.read().split("\n")) <= {"", "a tool that prints"}
    assert process.wait(30) == 1
    assert server.problems == []
    turns = json.loads(agentic("session", "show", "piped", "--json").stdout)["turns"]
    assert [turn["status"] for turn in turns] == ["completed"]


def test_a_model_that_cannot_be_reached_is_one_sentence(script: Start, agentic: Agentic) -> None:
    script([]).faults = [HangUp()] * 10
    result = agentic("run", "Hi")
    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) <= 2


def test_a_configuration_names_the_models_and_the_store(tmp_path: Path, agentic: Agentic) -> None:
    with OpenAIServer(weather_brain) as server:
        model = f"{{model: openai/test, endpoint: '{server.url}'}}"
        (tmp_path / "run.yaml").write_text(f"models:\n  default: {model}\nstore: {tmp_path}/own.db\n")
        config = ("-c", str(tmp_path / "run.yaml"))
        done = agentic("run", "Hi", *config)
        assert (done.exit_code, done.stdout) == (0, "Hello there, é and 🦙 too.\n"), done.stderr
        assert (tmp_path / "own.db").exists()
        wrong = agentic("run", "Hi", *config, "-m", "other")
        assert wrong.exit_code == 2
        assert "no model called 'other'" in wrong.stderr
        both = agentic("run", "Hi", *config, "--endpoint", server.url)
        assert both.exit_code == 2
        assert "Leave --endpoint out" in both.stderr
