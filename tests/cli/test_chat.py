"""`agentic chat`: turn after turn, with a few commands; errors do not end it."""

from __future__ import annotations

import os
import pty
import signal
from pathlib import Path

from cli.script import Agentic, Spawn, Start, calls, text
from servers.base import StallAfter, Status


def test_lines_are_turns_of_one_session(script: Start, agentic: Agentic) -> None:
    server = script([text("One."), text("Two.")])
    result = agentic("chat", stdin="first\n\nsecond\n")
    assert (result.exit_code, result.stdout) == (0, "One.\nTwo.\n")
    assert [message["content"] for message in server.requests[1].json["messages"]] == ["first", "One.", "second"]
    assert "To continue: --session " in result.stderr


def test_commands(script: Start, agentic: Agentic) -> None:
    server = script([calls(("a", "weather", '{"city": "Porto"}')), text("Warm."), text("New.")])
    lines = ["/tools", "Weather?", "/steps", "/prompt", "/help", "/nothing", "/resume", "/reset", "Hi", "/quit", "x"]
    result = agentic("chat", "--tools", "kit:weather", stdin="\n".join(lines))
    assert result.exit_code == 0
    answer, prompt, last = result.stdout.replace("}New.", "}\nNew.").splitlines()
    assert (answer, last) == ("Warm.", "New.")
    assert '"role":"tool"' in prompt.replace(" ", "")
    assert "weather: The weather in a city." in result.stderr
    assert 'weather(city="Porto")' in result.stderr
    assert "There is no /nothing." in result.stderr
    assert "There is nothing to resume." in result.stderr
    assert len(server.requests[-1].json["messages"]) == 1  # a new session


def test_exit_ends_it_too(script: Start, agentic: Agentic) -> None:
    server = script([])
    assert agentic("chat", stdin="/exit\nHi\n").exit_code == 0
    assert server.requests == []


def test_a_failed_turn_does_not_end_the_chat(script: Start, agentic: Agentic) -> None:
    server = script([text("Better.")])
    server.faults = [Status(400, {"error": {"message": "no"}})]
    result = agentic("chat", stdin="one\ntwo\n")
    assert (result.exit_code, result.stdout) == (0, "Better.\n")
    assert "Error: " in result.stderr


def test_continuing_shows_the_end_of_the_history(script: Start, agentic: Agentic) -> None:
    script(text(f"Answer {number}.") for number in range(6))
    agentic("chat", "--session", "s", stdin="q0\nq1\nq2\nq3\nq4\n")
    again = agentic("chat", "--session", "s", stdin="")
    assert "q1" not in again.stderr
    assert [f"turn {number}" in again.stderr for number in (2, 3, 4, 5)] == [False, True, True, True]
    assert "assistant: Answer 4." in again.stderr


def test_what_waits_for_approval_is_settled_first(script: Start, agentic: Agentic) -> None:
    script([calls(("a", "book", '{"city": "Porto"}')), text("Booked."), text("Sure.")])
    waits = agentic("chat", "--session", "s", "--tools", "kit:book", stdin="Book it.\n")
    assert "waits for your approval" in waits.stderr
    done = agentic("chat", "--session", "s", "--tools", "kit:book", "--approve", "all", stdin="And now?\n")
    assert done.stdout == "Booked.\nSure.\n"


PROMPT = "\x1b[?2004h"
"""The line editor asks for pasted text to be marked: it is ready."""


class Terminal:
    """A person at a pseudo-terminal."""

    def __init__(self, spawn: Spawn, *arguments: str) -> None:
        self._keyboard, terminal = pty.openpty()
        self.process = spawn(*arguments, stdin=terminal, stdout=terminal, stderr=terminal)
        os.close(terminal)
        self._unseen = ""

    def wait_for(self, words: str) -> None:
        while words not in self._unseen:
            self._unseen += os.read(self._keyboard, 65536).decode(errors="replace")
        self._unseen = self._unseen.partition(words)[2]

    def type(self, keys: str) -> None:
        os.write(self._keyboard, keys.encode())

    def close(self) -> None:
        os.close(self._keyboard)


def test_at_a_terminal(script: Start, spawn: Spawn, tmp_path: Path) -> None:
    server = script([text("Never", " ends"), text("Hello"), text("Both lines.")])
    server.faults = [StallAfter(1)]
    person = Terminal(spawn, "chat", "--session", "s")
    try:
        person.wait_for("/help lists the commands")
        person.wait_for(PROMPT)
        person.type("first\r")
        request = server.wait_for(1)
        person.wait_for("Never")
        person.process.send_signal(signal.SIGINT)
        assert request.gone.wait(10)
        person.wait_for("Cancelled")
        person.wait_for(PROMPT)
        person.type("second\r")
        person.wait_for("Hello")
        person.wait_for(PROMPT)
        person.type("\x1b[200~pasted\nlines\x1b[201~\r")
        person.wait_for("Both lines.")
        person.wait_for(PROMPT)
        person.type("\x04")
        person.wait_for("To continue: --session s")
        assert person.process.wait(30) == 0
    finally:
        person.close()
    assert server.requests[2].json["messages"][-1]["content"] == "pasted\nlines"
    assert oct((tmp_path / "data" / "chat_history").stat().st_mode & 0o777) == "0o600"
