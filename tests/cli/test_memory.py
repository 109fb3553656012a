from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from click.testing import Result

from agentic_memory import GraphBank, KeyValueBank, MemoryBank
from cli.script import Agentic, Spawn

ROOT = Path(__file__).parent.parent.parent

pytest.importorskip("wordllama")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "kettle.md").write_text(
        "# Kettle\n\nIt boils water.\n\n## Descaling\n\nPour vinegar in and wait an hour.\n"
    )
    (folder / "lamp.txt").write_text("The lamp needs a bulb of 40 watts.\n")
    return folder


def test_a_bank_from_its_making_to_its_end(
    agentic: Agentic, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = agentic("memory", "create", "home", "--embedding", "wordllama", "--json")
    assert json.loads(made.stdout)["bank"] == "home"
    assert agentic("memory", "create", "home").exit_code == 2
    first = agentic("memory", "add", "home", str(notes), "nowhere.txt", "--json")
    assert first.exit_code == 1, "one source could not be read"
    report = json.loads(first.stdout)
    assert sorted(Path(one).name for one in report["added"]) == ["kettle.md", "lamp.txt"]
    assert "nowhere.txt" in str(report["failed"])
    again = agentic("memory", "add", "home", str(notes))
    assert again.exit_code == 0
    assert again.stdout.startswith("0 added, 0 changed, 2 unchanged, 0 failed")

    found = json.loads(agentic("memory", "search", "home", "descaling with vinegar", "-k", "1", "--json").stdout)
    assert found[0]["text"].startswith("## Descaling")
    assert found[0]["title"] == "Kettle"
    assert found[0]["position"]["headings"] == ["Kettle", "Descaling"]
    shown = agentic("memory", "search", "home", "bulb", "--mode", "keyword")
    assert "40 watts" in shown.stdout
    assert agentic("memory", "search", "home", "x", "--filter", "{").exit_code == 2
    assert "Nothing was found" in agentic("memory", "search", "home", "zzz", "--mode", "keyword").stderr

    assert agentic("memory", "ls").stdout == "home\tvector\twordllama\n"
    lines = agentic("memory", "ls", "home").stdout.splitlines()
    assert [line.split("\t")[1:] for line in lines] == [["2", "Kettle"], ["1", "lamp.txt"]]
    lamp = str(notes / "lamp.txt")
    told = json.loads(agentic("memory", "show", "home", lamp, "--json").stdout)
    assert (told["chunks"], told["passages"][0]["text"]) == (1, "The lamp needs a bulb of 40 watts.")
    assert "\n1 of 1\nThe lamp needs a bulb of 40 watts.\n" in agentic("memory", "show", "home", lamp).stdout
    monkeypatch.chdir(notes)
    assert json.loads(agentic("memory", "show", "home", "lamp.txt", "--json").stdout) == told
    assert agentic("memory", "show", "home", "nothing").exit_code == 2
    assert json.loads(agentic("memory", "stats", "home", "--json").stdout)["documents"] == 2
    assert "2 documents and 3 chunks are sound" in agentic("memory", "verify", "home").stdout

    file = str(tmp_path / "home.jsonl")
    assert json.loads(agentic("memory", "export", "home", file, "--json").stdout)["documents"] == 2
    copied = agentic("memory", "import", "copy", file, "--embedding", "wordllama")
    assert copied.stdout.startswith("2 added"), copied.stderr
    assert agentic("memory", "rm", "copy").exit_code == 2
    assert "Removed 1 documents" in agentic("memory", "rm", "copy", "lamp.txt").stdout
    assert agentic("memory", "rm", "copy", "--bank").exit_code == 0
    assert [one["name"] for one in json.loads(agentic("memory", "ls", "--json").stdout)] == ["home"]


def test_banks_of_every_kind(agentic: Agentic, notes: Path, tmp_path: Path) -> None:
    store, file = tmp_path / "memory.db", str(tmp_path / "out.jsonl")

    def run(*arguments: str) -> Result:
        return agentic("memory", *arguments, "--store", str(store))

    with KeyValueBank("values", store=store) as values, GraphBank("graph", store=store) as graph:
        values.put("wifi", "tortoise")
        graph.add_relations([("Ada", "wrote", "the first program")], id="ada")
    with MemoryBank("given", store=store, embedding=None) as bank:
        bank.add_texts(["one two"], ids=["given"], vectors=[[1.0, 2.0]])
    with MemoryBank("own", store=store, embedding=lambda texts: [[1.0, 2.0]] * len(texts)) as bank:
        bank.add_text("one two", id="own")
    for kind in ("keyword", "keyvalue", "graph"):
        assert run("create", f"new {kind}", "--kind", kind).exit_code == 0
    assert run("create", "x", "--kind", "graph", "--embedding", "default").exit_code == 2
    assert run("add", "new keyword", str(notes)).exit_code == 0
    finds = {"values": "tortoise", "graph": "Ada — wrote", "given": "one two", "new keyword": "40 watts"}
    for name, text in finds.items():
        assert text in run("search", name, "wifi Ada one bulb").stdout
    assert "one two" in run("search", "own", "one", "--mode", "keyword").stdout
    for name in ("values", "graph"):
        assert f"{name!r} is a" in run("add", name, str(notes)).stderr
        assert f"{name!r} is a" in run("search", name, "x", "--mode", "hybrid").stderr
    for name in (*finds, "own"):
        for command in (("ls", name), ("stats", name), ("export", name, file), ("import", "copy", file)):
            result = run(*command)
            assert result.exit_code == 0, result.stderr
        assert "1 documents" in run("verify", "copy").stdout or name == "new keyword"
        assert run("rm", "copy", "--bank").exit_code == 0


def test_a_bank_that_is_not_there(agentic: Agentic) -> None:
    for arguments in (("add", "x", "."), ("search", "x", "y"), ("ls", "x"), ("stats", "x"), ("verify", "x")):
        result = agentic("memory", *arguments)
        assert result.exit_code == 2
        assert "agentic memory create x" in result.stderr
    assert "No banks yet" in agentic("memory", "ls").stderr


QUESTIONS = {
    "Where do I put the key for Tavily web search?": {"builtin-tools.md"},
    "How do I connect an MCP server as a toolgroup?": {"mcp.md"},
    "Which exit code means that the session is busy?": {"cli.md", "README.md"},
    "Why does this project depend on xmltodict?": {"dependencies.md"},
    "What happens when the code interpreter runs out of memory or time?": {"code_interpreter.md"},
    "What does the model see when a tool call times out?": {"turn.md", "tools.md"},
}


def test_this_repositorys_docs_answer_questions(tmp_path: Path) -> None:
    with MemoryBank("docs", store=tmp_path / "docs.db", embedding="wordllama") as bank:
        report = bank.add(ROOT / "docs")
        assert not report.failed
        wrong = {}
        for question, pages in QUESTIONS.items():
            hits = bank.query(question, k=3)
            if not pages & {Path(hit.source).name for hit in hits}:
                wrong[question] = [hit.source for hit in hits]
    assert not wrong


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_stored_and_the_same_command_goes_on(
    agentic: Agentic, spawn: Spawn, tmp_path: Path
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for name in "abc":
        rows = "\n".join(f"{name}{number},a thing of the kind {number}" for number in range(15_000))
        (folder / f"{name}.csv").write_text(f"id,text\n{rows}\n")
    assert agentic("memory", "create", "many", "--embedding", "wordllama").exit_code == 0
    process = spawn("memory", "add", "many", str(folder))
    while not json.loads(agentic("memory", "stats", "many", "--json").stdout)["documents"]:
        assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "the same command goes on from there" in told
    assert agentic("memory", "verify", "many").exit_code == 0
    stored = json.loads(agentic("memory", "stats", "many", "--json").stdout)["documents"]
    report = json.loads(agentic("memory", "add", "many", str(folder), "--json").stdout)
    assert (len(report["unchanged"]), len(report["added"])) == (stored, 3 - stored)
    assert stored
