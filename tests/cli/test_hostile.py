"""Whatever a model writes, the command shows it sanely, answers every call once, and ends with the right code."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from click.testing import Result

from cli.script import Agentic, Says, Start, calls, text

TOOLS = ("--tools", "kit:weather", "--tools", "kit:broken")
LISBON = '{"city": "Lisbon"}'


def turn_of(agentic: Agentic) -> Any:
    return json.loads(agentic("session", "show", "s", "--json").stdout)["turns"][-1]


def ask(agentic: Agentic, *arguments: str) -> tuple[Result, list[tuple[str, str, str]]]:
    """Runs one turn; returns its result and the call id, name and status of each call, as the log has them."""
    result = agentic("run", "Weather?", "--session", "s", *TOOLS, *arguments)
    assert "Traceback" not in result.output
    responses = []
    for step in turn_of(agentic)["steps"]:
        if step["step_type"] == "tool_execution":
            made, answered = step["tool_calls"], step["tool_responses"]
            assert [call["call_id"] for call in made] == [response["call_id"] for response in answered]
            responses += [(one["call_id"], one["tool_name"], one["status"]) for one in answered]
    return result, responses


@pytest.mark.parametrize(
    ("made", "statuses", "says"),
    [
        pytest.param([("a", "nix", "{}")], ["unknown_tool"], "There is no tool called 'nix'", id="unknown tool"),
        pytest.param([("a", "weather", '["Lisbon')], ["error"], "was not run", id="malformed JSON"),
        pytest.param([("a", "weather", '"Lisbon"')], ["error"], "was not run", id="no object"),
        pytest.param([("a", "weather", '{"city": "Lisbon", "days": "soon"}')], ["error"], "$.days", id="wrong type"),
        pytest.param([("a", "weather", "{}")], ["error"], "$.city: is required", id="nothing given"),
        pytest.param(
            [("a", "weather", LISBON), ("b", "broken", "{}"), ("c", "weather", LISBON)],
            ["ok", "error", "ok"],
            "RuntimeError: kaput red",
            id="one of several raises",
        ),
        pytest.param(
            [("a", "weather", LISBON), ("a", "broken", "{}"), ("a", "weather", LISBON)],
            ["ok", "error", "ok"],
            "RuntimeError: kaput red",
            id="one id for all",
        ),
        pytest.param([("", "weather", LISBON)], ["ok"], "Lisbon: 19 °C", id="no id"),
    ],
)
def test_every_call_is_answered_once_and_in_order(
    made: list[tuple[str, str, str]], statuses: list[str], says: str, script: Start, agentic: Agentic
) -> None:
    server = script([calls(*made), text("Well then.")])
    result, responses = ask(agentic)
    assert (result.exit_code, result.stdout) == (0, "Well then.\n")
    assert says in result.stderr
    assert [status for _, _, status in responses] == statuses
    assert [name for _, name, _ in responses] == [name for _, name, _ in made]
    assert len({call_id for call_id, _, _ in responses}) == len(made)
    results = [message for message in server.requests[1].json["messages"] if message["role"] == "tool"]
    assert len(results) == len(made)
    assert server.problems == []


def test_an_empty_reply_is_named_and_is_no_success(script: Start, agentic: Agentic) -> None:
    script([text()])
    result, _ = ask(agentic)
    assert (result.exit_code, result.stdout.strip()) == (1, "")
    assert "empty" in result.stderr


def test_endless_calling_is_stopped(script: Start, agentic: Agentic) -> None:
    server = script(calls((f"c{number}", "weather", LISBON)) for number in itertools.count())
    result, responses = ask(agentic, "--max-iters", "3")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "--max-iters" in result.stderr
    assert turn_of(agentic)["reason"] == "max_infer_iters"
    assert len(server.requests) == 3
    assert len(responses) == 3


def test_the_same_failing_call_again_and_again_is_stopped(script: Start, agentic: Agentic) -> None:
    script(itertools.repeat(calls(("c", "broken", "{}"))))
    result, _ = ask(agentic)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the same failing call" in result.stderr


def test_a_call_cut_off_by_the_token_limit_is_not_run(script: Start, agentic: Agentic) -> None:
    script([Says(calls=(("a", "weather", '{"city": "Lis'),), cut=True), text("Never mind.")])
    result, responses = ask(agentic)
    assert "19 °C" not in result.output
    assert {status for _, _, status in responses} <= {"error", "not_run"}
    assert turn_of(agentic)["status"] == "completed"


def test_an_answer_cut_off_is_shown_and_is_no_success(script: Start, agentic: Agentic) -> None:
    script([Says(("Once upon",), cut=True)])
    result, _ = ask(agentic)
    assert (result.exit_code, result.stdout) == (1, "Once upon\n")
    assert "cut off" in result.stderr


EVIL = "\x1b]0;title\x07\x1b[2J\x9b31mgood\x1b[0m\x08\x00\u202eevil\r\n[bold]rich[/bold]"
TAME = "goodevil\n[bold]rich[/bold]"


def test_escape_sequences_reach_no_terminal_wherever_they_stand(script: Start, agentic: Agentic) -> None:
    arguments = json.dumps({"city": EVIL, "days\x1b[31m": 1})
    script([calls(("a", f"we{EVIL}ather", arguments), ("b", "broken", "{}")), text(*EVIL)])
    result = agentic("run", "Weather?", "--session", "s", *TOOLS)
    assert result.stdout == f"{TAME}\n"
    shown = [result, agentic("session", "show", "s"), agentic("session", "show", "s", "--json")]
    shown.append(agentic("run", EVIL, "--session", "s", *TOOLS))
    for one in shown:
        assert not {"\x1b", "\x07", "\x08", "\x9b", "\u202e"} & set(one.stderr), one.stderr
    assert not {"\x1b", "\x07", "\x08", "\x9b", "\u202e"} & set(shown[1].stdout)


def test_a_huge_argument_and_a_huge_result_stay_on_one_line(script: Start, agentic: Agentic) -> None:
    script([calls(("a", "weather", json.dumps({"city": "x" * 1_000_000}))), text("Big.")])
    result, _ = ask(agentic)
    assert result.stdout == "Big.\n"
    assert max(len(line) for line in result.stderr.splitlines()) <= 220
