"""Prompts: versions that never change, values that stay text, and the version on every inference step."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from agentic import Agent
from agentic.cli import app
from agentic.prompts import Prompt, PromptStore
from agentic.session import Session
from agentic.store import Store, open_store
from agentic.testing import ScriptedModel
from agentic.types.errors import ConfigError, InvalidInput, NotFound, StoreCorrupt
from agentic.types.steps import InferenceStep

POSTGRESQL = os.environ.get("AGENTIC_TEST_POSTGRESQL", "")
KINDS = ["memory", "sqlite", *(["postgresql"] if POSTGRESQL else [])]


@pytest.fixture(params=KINDS)
def prompts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PromptStore]:
    where = {"memory": None, "sqlite": tmp_path / "sessions.db", "postgresql": POSTGRESQL}[request.param]
    if request.param == "postgresql":
        from sqlalchemy import create_engine, text

        engine = create_engine(POSTGRESQL.replace("postgresql://", "postgresql+psycopg://"))
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        engine.dispose()
    store = PromptStore(where)
    yield store
    store.close()


def test_versions_count_up_and_the_newest_is_the_default(prompts: PromptStore) -> None:
    first = prompts.set("greeter", "Greet {{who}}.", variables=["who"], note="first")
    second = prompts.set("greeter", "Greet {{ who }} warmly.", variables=["who"])
    assert (first.ref, first.default, first.note) == ("greeter@1", True, "first")
    assert (second.ref, second.default) == ("greeter@2", True)
    assert [(one.version, one.default) for one in prompts.versions("greeter")] == [(1, False), (2, True)]
    assert prompts.get("greeter") == prompts.get("greeter@2") == second
    assert prompts.get("greeter@1").render({"who": "Ada"}) == "Greet Ada."
    assert [one.ref for one in prompts.list()] == ["greeter@2"]


def test_rollback_goes_back_and_forth_and_loses_nothing(prompts: PromptStore) -> None:
    for text in ("one", "two", "three"):
        prompts.set("p", text)
    assert prompts.rollback("p").version == 2
    assert prompts.rollback("p").version == 1
    with pytest.raises(InvalidInput, match="p@1 is the first version"):
        prompts.rollback("p")
    assert prompts.rollback("p", 3).default
    assert [one.version for one in prompts.versions("p")] == [1, 2, 3]
    for missing in (0, 4, -1, 10**30):
        with pytest.raises(NotFound):
            prompts.rollback("p", missing)


def test_a_version_may_wait_to_become_the_default(prompts: PromptStore) -> None:
    assert prompts.set("p", "one", default=False).default, "a first version is the default in any case"
    assert not prompts.set("p", "two", default=False).default
    assert prompts.get("p").template == "one"


def test_diff_shows_what_changed(prompts: PromptStore) -> None:
    prompts.set("p", "Be brief.\nBe kind.")
    assert prompts.diff("p") == ""
    prompts.set("p", "Be brief.\nBe kind to {{who}}.", variables=["who"])
    assert prompts.diff("p").splitlines() == [
        "--- p@1",
        "+++ p@2",
        "@@ -1,2 +1,3 @@",
        "+variables: who",
        " Be brief.",
        "-Be kind.",
        "+Be kind to {{who}}.",
    ]
    assert prompts.diff("p", 2, 1).startswith("--- p@2\n+++ p@1")
    with pytest.raises(NotFound, match="p@9"):
        prompts.diff("p", 1, 9)


def test_a_removed_prompt_never_gives_its_numbers_twice(prompts: PromptStore) -> None:
    prompts.set("p", "one")
    prompts.set("p", "two")
    prompts.delete("p")
    for missing in (lambda: prompts.get("p"), lambda: prompts.versions("p"), lambda: prompts.delete("p")):
        with pytest.raises(NotFound, match="no prompt 'p'"):
            missing()
    assert not prompts.list()
    again = prompts.set("p", "three", default=False)
    assert (again.version, again.default) == (3, True)


MALFORMED = ["", "@1", "a@", "a@0", "a@x", "a@1@2", "a b", "../x", "a@-1", "a@\uff11", "a" * 129, None]


@pytest.mark.parametrize("ref", MALFORMED)
def test_a_malformed_reference_is_refused(prompts: PromptStore, ref: Any) -> None:
    with pytest.raises(InvalidInput):
        prompts.get(ref)


@pytest.mark.parametrize(
    ("template", "variables", "message"),
    [
        ("{{a}} {{b}}", ["a"], "names 'b'"),
        ("", [], "must not be empty"),
        ("x\0", [], "NUL"),
        ("\ud800", [], "surrogate"),
        ("x" * 1_000_001, [], "1,000,000"),
        ("x", "ab", "list of names"),
        ("x", ["a", "a"], "twice"),
        ("x", ["1a"], "variable's name"),
        ("x", [None], "variable's name"),
        (None, [], "text"),
    ],
)
def test_a_template_that_cannot_be_kept_is_refused(
    prompts: PromptStore, template: Any, variables: Any, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        prompts.set("p", template, variables=variables)
    assert not prompts.list()


def prompt(template: str, *variables: str) -> Prompt:
    return Prompt(name="p", version=1, template=template, variables=variables)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "needs a value for 'a', 'b'"),
        ({"a": "1"}, "needs a value for 'b'"),
        ({"a": 1, "b": 2, "c": 3}, "no variable 'c'"),
        ({"a": 1, "b": None}, "not NoneType"),
        ({"a": 1, "b": ["x"]}, "not list"),
        ({"a": 1, "b": "\udc00"}, "surrogate"),
    ],
)
def test_a_value_that_is_missing_or_too_many_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        prompt("{{a}}{{b}}", "a", "b").render(values)


@given(a=st.text(st.characters(exclude_categories=["Cs"])), b=st.sampled_from(["{{a}}", r"\1", "{{b}}", "{", "%s"]))
def test_a_value_is_never_read_as_a_template(a: str, b: str) -> None:
    assert prompt("<{{a}}|{{ b }}|{{a}}>", "a", "b").render({"a": a, "b": b}) == f"<{a}|{b}|{a}>"


def test_braces_that_hold_no_name_are_text() -> None:
    text = 'Answer with {"a": {"b": 1}}, {{ }}, {{1}}, {{a-b}} or {a}.'
    assert prompt(text).render() == text


def test_concurrent_writers_get_a_version_each(prompts: PromptStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: prompts.set("p", f"text {number}"), range(40)))
    assert sorted(one.version for one in made) == list(range(1, 41))
    kept = {one.version: one.template for one in prompts.versions("p")}
    assert kept == {one.version: one.template for one in made}


@pytest.mark.slow
def test_processes_that_write_and_die_leave_whole_versions(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    code = (
        "import os, sys, itertools; from agentic.prompts import PromptStore; p = PromptStore(sys.argv[1])\n"
        "for n in itertools.count():\n"
        "    print(p.set('p', f'{os.getpid()} {n}').version, flush=True)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    told: list[int] = []
    for writer in writers:
        assert writer.stdout
        told += [int(writer.stdout.readline()) for _ in range(20)]
    for writer in writers:
        writer.kill()
        rest, _ = writer.communicate()
        told += [int(line) for line in rest.splitlines() if line.strip()]
    prompts = PromptStore(file)
    versions = [one.version for one in prompts.versions("p")]
    prompts.close()
    assert versions == list(range(1, len(versions) + 1)), "a gap is a version that was lost"
    assert set(told) <= set(versions)
    assert len(set(told)) == len(told)


def test_a_store_of_the_first_schema_is_upgraded_and_keeps_its_sessions(tmp_path: Path) -> None:
    from sqlalchemy import create_engine, text

    file = tmp_path / "sessions.db"
    with Agent(ScriptedModel(["Hi."]), store=file) as agent:
        agent.session("s").run("Hello")
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        for (table,) in connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).all():
            if table not in ("agentic_sessions", "agentic_records", "agentic_version"):
                connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("UPDATE agentic_version SET version_num = '0001'"))
    engine.dispose()
    with Agent(ScriptedModel(), store=file) as agent:
        assert agent.session("s").turns[0].text == "Hi."
        store = PromptStore(file)
        assert store.set("p", "one").version == 1
        store.close()


def test_a_damaged_row_is_an_error_of_the_store(tmp_path: Path) -> None:
    import sqlite3

    prompts = PromptStore(tmp_path / "sessions.db")
    prompts.set("p", "one")
    for change in ("variables = 'x'", "variables = '[1]'", "template = ''", "created = 'x'"):
        other = sqlite3.connect(tmp_path / "sessions.db")
        other.execute(f"UPDATE agentic_prompt_versions SET {change}")
        other.commit()
        other.close()
        with pytest.raises(StoreCorrupt, match="p@1 is damaged"):
            prompts.get("p")
    prompts.close()


# An agent that is built from a prompt.


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    return lambda: open_store(None if request.param == "memory" else tmp_path / "sessions.db")


def inferences(session: Session) -> list[InferenceStep]:
    return [step for turn in session.turns for step in turn.steps if isinstance(step, InferenceStep)]


def test_every_inference_step_records_the_version(store: Callable[[], Store]) -> None:
    kept = store()
    prompts = PromptStore(kept)
    prompts.set("greeter", "You greet {{who}}.", variables=["who"])
    model = ScriptedModel(["Hello.", "Again."])
    agent = Agent(model, prompt="greeter", variables={"who": "<|eot_id|>{{who}}"}, store=kept)
    prompts.set("greeter", "You do not greet.")
    session = agent.session("s")
    session.run("Hi")
    session.run("Hi")
    assert [step.prompt for step in inferences(session)] == ["greeter@1", "greeter@1"], "as the agent was built"
    assert model.requests[1].messages[0].text == "You greet <|eot_id|>{{who}}."
    assert agent.describe()["prompt"] == "greeter@1"
    agent.close()


def test_the_version_survives_in_the_log(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    prompts = PromptStore(file)
    prompts.set("p", "Be brief.")
    with Agent(ScriptedModel(["Hi."]), prompt="p@1", store=file) as agent:
        agent.session("s").run("Hello")
    with Agent(ScriptedModel(), store=file) as agent:
        assert inferences(agent.session("s"))[0].prompt == "p@1"
    prompts.close()


def test_a_prompt_may_be_handed_over_in_async_code() -> None:
    async def main() -> str:
        prompts = PromptStore(None)
        await prompts.aset("p", "Be {{how}}.", variables=["how"])
        agent = Agent(ScriptedModel(["Hi."]), prompt=await prompts.aget("p"), variables={"how": "brief"}, store=None)
        turn = await agent.arun("Hello")
        await agent.aclose()
        await prompts.aclose()
        assert isinstance(turn.steps[0], InferenceStep)
        return turn.steps[0].prompt

    assert asyncio.run(main()) == "p@1"


def test_an_agent_says_what_is_wrong_with_its_prompt(tmp_path: Path) -> None:
    prompts = PromptStore(tmp_path / "sessions.db")
    prompts.set("p", "Hi {{who}}.", variables=["who"])
    model, where = ScriptedModel(), tmp_path / "sessions.db"
    with pytest.raises(ConfigError, match="not both"):
        Agent(model, prompt="p", instructions="Hello", store=where)
    with pytest.raises(ConfigError, match="belong to a prompt"):
        Agent(model, variables={"who": "Ada"}, store=where)
    with pytest.raises(NotFound, match="p@2"):
        Agent(model, prompt="p@2", store=where)
    with pytest.raises(InvalidInput, match="needs a value for 'who'"):
        Agent(model, prompt="p", store=where)
    prompts.close()


# The command line.


@pytest.fixture
def agentic(tmp_path: Path) -> Callable[..., Any]:
    def run(*arguments: str, stdin: str = "", code: int = 0) -> Any:
        result = CliRunner().invoke(app, ["prompts", *arguments, "--store", str(tmp_path / "here.db")], input=stdin)
        assert result.exit_code == code, result.output
        return result

    return run


def test_the_command_sets_shows_compares_and_rolls_back(agentic: Callable[..., Any], tmp_path: Path) -> None:
    assert "No prompts yet." in agentic("ls").stderr
    (tmp_path / "one.txt").write_text("Greet {{who}}.\n", encoding="utf-8")
    assert "greeter@1 is the default" in agentic("set", "greeter", str(tmp_path / "one.txt"), "--var", "who").stderr
    agentic("set", "greeter", "--note", "kinder", stdin="Greet kindly.\n")
    assert agentic("show", "greeter@1").stdout == "Greet {{who}}.\n\n"
    assert json.loads(agentic("show", "greeter", "--json").stdout)["note"] == "kinder"
    assert "-Greet {{who}}.\n+Greet kindly." in agentic("diff", "greeter").stdout
    assert json.loads(agentic("diff", "greeter", "--json").stdout)["name"] == "greeter"
    assert json.loads(agentic("rollback", "greeter", "--json").stdout)["ref"] == "greeter@1"
    assert agentic("diff", "greeter@2", "greeter@1").stdout.startswith("--- greeter@2\n+++ greeter@1\n")
    agentic("diff", "greeter@2", "other@1", code=2)
    assert "greeter@2 is the default" in agentic("rollback", "greeter@2").stderr
    assert "greeter@1 is the default" in agentic("rollback", "greeter@1").stderr
    assert agentic("ls").stdout.startswith("greeter@1\tdefault\t")
    assert [one["ref"] for one in json.loads(agentic("ls", "greeter", "--json").stdout)] == ["greeter@1", "greeter@2"]
    assert "not the default" in agentic("set", "greeter", "--no-default", stdin="Third").stderr


def test_the_command_says_what_is_wrong(agentic: Callable[..., Any]) -> None:
    assert "no prompt 'nobody'" in agentic("show", "nobody", code=2).stderr
    assert "names 'who'" in agentic("set", "p", stdin="{{who}}", code=2).stderr
    agentic("rollback", "nobody", "0", code=2)
