"""Files that users attach and tools write: kept in the log, named to the model, handed to tools."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agentic import Agent, File, Image, Text, Tool, ToolContext, ToolOutput, UserMessage
from agentic.history import bounded
from agentic.protocols import ToolPolicy
from agentic.testing import ScriptedModel
from agentic.types.content import MAX_FILE_BYTES, content_of, files_of, text_of
from agentic.types.errors import InvalidInput
from agentic.types.serialise import from_json, to_json
from agentic.types.tools import ToolCall, ToolDef, ToolResponse

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


class Reader:
    """A tool that writes what is attached, and tells how much that is."""

    definition = ToolDef("read", "Reads.")
    policy = ToolPolicy()

    async def invoke(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        files = context.attachments
        return ToolOutput((Text(f"{len(files)} files\n"), *(File(f"copy-{file.name}", file.data) for file in files)))


def test_names_are_harmless() -> None:
    names = ["a.csv", "my data.csv", "../../etc/passwd", ".bashrc", "-rf", "", "\u202e\x00", "<|eot_id|>", "x" * 500]
    found = [File(name, b"").name for name in names]
    assert found[:8] == ["a.csv", "my_data.csv", "_.._etc_passwd", "bashrc", "rf", "file", "_", "_eot_id_"]
    assert found[8] == "x" * 120
    assert [File(name, b"").name for name in found] == found


def test_files_are_made_of_paths_and_of_bytes(tmp_path: Path) -> None:
    (tmp_path / "a b.csv").write_bytes(b"1,2")
    made = File("a_b.csv", b"1,2")
    for source in (tmp_path / "a b.csv", str(tmp_path / "a b.csv"), ("a b.csv", b"1,2"), made):
        assert File.of(source) == made
    wrong: Any
    for wrong in (tmp_path, tmp_path / "missing", "no\0name", b"1,2", ("a", "text"), 7, None):
        with pytest.raises(InvalidInput):
            File.of(wrong)
    with pytest.raises(InvalidInput, match="the limit is"):
        File("large", bytes(MAX_FILE_BYTES + 1))
    with pytest.raises(InvalidInput, match="is a list"):
        content_of("x", files="a.csv")
    assert repr(made) == "File('a_b.csv', 3 bytes)"


def test_saving(tmp_path: Path) -> None:
    path = File("a.csv", b"1").save(tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "a.csv"
    assert File("a.csv", b"2").save(path.parent).read_bytes() == b"2"
    with pytest.raises(InvalidInput, match="Cannot write"):
        File("a.csv", b"1").save(path)


def test_content_with_files() -> None:
    content = content_of("Look.", images=[PNG], files=[("a.csv", b"\xff")])
    assert [type(part) for part in content] == [Image, File, Text]
    assert (text_of(content), files_of(content)) == ("Look.", (File("a.csv", b"\xff"),))
    message = UserMessage(content_of([File("a.csv", b"\xff\x00"), "Look."]))
    assert from_json(UserMessage, to_json(message)) == message
    assert files_of("text") == ()


def test_files_of_one_message_do_not_replace_each_other() -> None:
    long = f"{'x' * 130}.csv"
    files = [
        ("a.csv", b"1"),
        ("\u00e9.csv", b"2"),
        ("a.csv", b"3"),
        ("\u65e5\u672c.csv", b"4"),
        (long, b"5"),
        (long, b"6"),
    ]
    content = content_of("Look.", files=files)
    assert [file.name for file in files_of(content)][:4] == ["a.csv", "_.csv", "2-a.csv", "2-_.csv"]
    assert len({file.name for file in files_of(content)}) == 6


def test_the_model_sees_the_name_and_tools_the_content(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff,2")
    model = ScriptedModel([ToolCall("read", {}, "c1"), "One.", ToolCall("read", {}, "c2"), "Two."])
    store = tmp_path / "log.db"
    with Agent(model, tools=[Reader()], store=store) as agent:
        first = agent.session("s").run("Read it.", files=[tmp_path / "a.csv"])
        assert model.requests[0].messages[-1].text == "[file a.csv, 3 bytes]\nRead it."
        assert model.requests[1].messages[-1].text == "1 files\n[file copy-a.csv, 3 bytes]\n"
        assert first.files == (File("copy-a.csv", b"\xff,2"),)
        assert first.tool_responses[0].text == "1 files\n"
    with Agent(model, tools=[Reader()], store=store) as agent:  # another process would find the same
        events = list(agent.session("s").stream("And this?", files=[("b.csv", b"3")]))
        assert agent.session("s").turns[0] == first
    turn = events[-1].turn  # type: ignore[union-attr]
    assert [file.name for file in turn.files] == ["copy-a.csv", "copy-b.csv"]
    everything = b"".join(to_json(message) for request in model.requests for message in request.messages)
    assert b'"file"' not in everything


def test_files_and_messages_do_not_mix() -> None:
    with Agent(ScriptedModel(["Fine."]), store=None) as agent:
        with pytest.raises(InvalidInput, match="into the messages"):
            agent.run([UserMessage("Hi.")], files=[("a", b"")])
        attached = agent.run([UserMessage((File("a", b"1"), Text("Hi.")))])
    assert files_of(attached.input_messages[0].content) == (File("a", b"1"),)


def test_functions_may_return_files() -> None:
    def report() -> list[Any]:
        """Writes a report."""
        return ["Done.", File("report.txt", b"text")]

    def alone() -> File:
        """Writes a file."""
        return File("alone.txt", b"1")

    assert asyncio.run(Tool(report).invoke({}, ToolContext())).content == (Text("Done."), File("report.txt", b"text"))
    assert asyncio.run(Tool(alone).invoke({}, ToolContext())).content == (File("alone.txt", b"1"),)


def test_long_results_with_files_are_cut() -> None:
    response = ToolResponse("c", "t", (Text("x" * 100_000), File("a", b"1")), metadata={"k": 1})
    seen = bounded(response)
    assert len(seen.text) < 45_000
    assert "[file a, 1 bytes]" in seen.text
