"""Functions as tools: schemas, arguments, results, and tools in processes of their own."""

from __future__ import annotations

import asyncio
import enum
import importlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from agentic import Image, Text, Tool, ToolContext, ToolDef, ToolError, ToolOutput, tool
from agentic.types import ToolDefinitionError

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)


class Unit(enum.Enum):
    """A unit."""

    CELSIUS = "c"
    FAHRENHEIT = "f"


class Place(BaseModel):
    title: str
    latitude: float = 0.0


def invoke(function: Any, /, **arguments: Any) -> ToolOutput:
    made = function if isinstance(function, Tool) else Tool(function)
    return asyncio.run(made.invoke(arguments, ToolContext(call_id="c1")))


def weather(
    city: str,
    unit: Unit = Unit.CELSIUS,
    place: Place | None = None,
    days: Annotated[int, Field(ge=1, description="How many days")] = 1,
    mode: Literal["short", "long"] = "short",
    tags: Annotated[list[str], "Free words"] = [],  # noqa: B006
    *,
    context: ToolContext,
) -> str:
    """Current weather in a city.

    Args:
        city: The city's name.
        days: Overruled by the annotation.
    """
    return f"{city} {unit.value} {place and place.title} {days} {mode} {tags} {context.call_id}"


def test_the_schema_is_the_signatures_and_the_docstrings() -> None:
    definition = Tool(weather).definition
    properties = definition.parameters["properties"]
    assert definition.name == "weather"
    assert definition.description == "Current weather in a city."
    assert definition.parameters["required"] == ["city"]
    assert definition.parameters["additionalProperties"] is False
    assert properties["city"] == {"description": "The city's name.", "type": "string"}
    assert properties["days"] == {"default": 1, "description": "How many days", "minimum": 1, "type": "integer"}
    assert properties["mode"] == {"default": "short", "enum": ["short", "long"], "type": "string"}
    assert properties["tags"]["description"] == "Free words"
    assert "context" not in properties
    place = definition.parameters["$defs"]["Place"]
    assert place["properties"]["title"] == {"type": "string"}
    assert "title" not in {key for key in place if key != "properties"}


def test_arguments_are_checked_and_coerced_by_the_schema() -> None:
    output = invoke(weather, city="Lisbon", unit="f", place={"title": "home"}, days="3")
    assert output.content == "Lisbon f home 3 short [] c1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "$.city: is required"),
        ({"city": 1}, "$.city: Input should be a valid string"),
        ({"city": "x", "days": 0}, "$.days: Input should be greater than or equal to 1"),
        ({"city": "x", "place": {"title": 3}}, "$.place.title: Input should be a valid string"),
        ({"city": "x", "other": 1}, "$.other: is not permitted"),
        ({"city": "x", "context": 1}, "$.context: is not permitted"),
        ({"city": "x", "tags": ["a", 2]}, "$.tags[1]: Input should be a valid string"),
    ],
)
def test_wrong_arguments_name_the_field_and_why(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ToolError) as caught:
        invoke(weather, **arguments)
    assert message in str(caught.value)


def test_parameters_may_have_any_name() -> None:
    def odd(schema: str, model_config: int, copy: str = "", _private: str = "p") -> str:
        return f"{schema} {model_config} {copy} {_private}"

    assert invoke(odd, schema="a", model_config=1, _private="q").content == "a 1  q"


@dataclass
class Point:
    x: int
    y: int


class Shown:
    def __str__(self) -> str:
        return "shown"


@pytest.mark.parametrize(
    ("result", "content"),
    [
        ("text", "text"),
        (None, "done"),
        (3, "3"),
        ({"a": [1, 2.5, None]}, '{"a":[1,2.5,null]}'),
        (Place(title="home"), '{"title":"home","latitude":0.0}'),
        (Point(1, 2), '{"x":1,"y":2}'),
        ([Point(1, 2)], '[{"x":1,"y":2}]'),
        (["a", "b"], '["a","b"]'),
        (float("nan"), '"NaN"'),
        (Shown(), '"shown"'),
        (Path("/tmp/x"), "/tmp/x"),
        (Image.of(PNG), (Image(data=PNG),)),
        (PNG, (Image(data=PNG),)),
        (["see: ", Image.of(PNG)], (Text("see: "), Image(data=PNG))),
        (ToolOutput("own", {"rows": 1}), "own"),
    ],
)
def test_results_become_what_the_model_reads(result: Any, content: Any) -> None:
    def gives() -> Any:
        return result

    async def gives_async() -> Any:
        return result

    assert invoke(gives).content == content
    assert invoke(gives_async).content == content


def test_bytes_that_are_no_image_are_refused() -> None:
    with pytest.raises(ToolError, match="3 bytes that are no image"):
        invoke(Tool(lambda: b"abc", name="gives"))


def test_an_async_generator_reports_progress_and_its_last_value_is_the_result() -> None:
    closed = []

    async def count(to: int) -> AsyncIterator[str]:
        try:
            for number in range(to):
                yield f"{number}"
        finally:
            closed.append(True)

    told: list[Any] = []
    output = asyncio.run(Tool(count).invoke({"to": 3}, ToolContext(report=told.append)))
    assert (output.content, told, closed) == ("2", ["0", "1"], [True])
    assert invoke(count, to=0).content == "done"


def test_a_decorated_function_stays_a_function_and_one_with_options_becomes_a_tool() -> None:
    @tool
    def plain(a: int) -> int:
        """Plain."""
        return a + 1

    @tool(timeout=5, idempotent=True, name="other")
    def with_options(a: int) -> int:
        """With options."""
        return a + 1

    assert plain(1) == 2
    assert isinstance(with_options, Tool)
    assert with_options(1) == 2
    assert (with_options.name, with_options.policy.timeout, with_options.policy.idempotent) == ("other", 5, True)


def test_callable_objects_and_methods_are_tools() -> None:
    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def __call__(self, by: int = 1) -> int:
            """Counts on."""
            self.count += by
            return self.count

        def reset(self) -> None:
            """Begins anew."""
            self.count = 0

    counter = Counter()
    assert invoke(Tool(counter, name="count"), by=2).content == "2"
    invoke(counter.reset)
    assert counter.count == 0


def positional(a: int, /) -> None: ...
def several(*a: int) -> None: ...
def keywords(**a: int) -> None: ...
def unknown_type(a: NotDefined) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def undescribable(a: asyncio.Event) -> None: ...
def brave_search(query: str) -> None: ...
def two_contexts(one: ToolContext, other: ToolContext) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (positional, "cannot fill in by name"),
        (several, "cannot fill in by name"),
        (keywords, "cannot fill in by name"),
        (unknown_type, "signature of unknown_type cannot be read"),
        (undescribable, "parameters of undescribable cannot be described"),
        (brave_search, "know from training"),
        (lambda: None, "'<lambda>' cannot be a tool's name"),
        (two_contexts, "two parameters of the type ToolContext"),
        (3, "A tool is a function, not int"),
        (ToolDef("has space"), "cannot be a tool's name"),
    ],
)
def test_what_no_model_can_call_is_refused_at_once(function: Any, message: str) -> None:
    with pytest.raises(ToolDefinitionError, match=message):
        Tool(function)


# -- processes --------------------------------------------------------------------------------------------------------


MODULE = """
import os, signal, subprocess, time
from pathlib import Path
from agentic import ToolContext, ToolError, tool

@tool(isolation="process")
def double(n: int) -> str:
    "Doubles."
    print("printed, not returned")
    return f"{2 * n} {os.getpid()}"

@tool(isolation="process")
def crash() -> None:
    "Dies."
    os.kill(os.getpid(), signal.SIGSEGV)

@tool(isolation="process")
def refuse() -> None:
    "Raises."
    raise ToolError("no", hint="Try later.")

@tool(isolation="process")
def hang(fifo: str) -> None:
    "Starts a child and hangs."
    child = subprocess.Popen(["sleep", "600"])
    Path(fifo).write_text(str(child.pid))
    time.sleep(600)
"""


@pytest.fixture
def process_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "process_tools.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "process_tools", raising=False)
    return importlib.import_module("process_tools")


@pytest.mark.slow
def test_a_process_tool_runs_elsewhere_and_its_death_or_error_is_a_result(process_tools: Any) -> None:
    doubled, pid = str(invoke(process_tools.double, n="4").content).split()
    assert doubled == "8"
    assert int(pid) != os.getpid()
    with pytest.raises(ToolError, match=r"without a result \(exit code -11\)"):
        invoke(process_tools.crash)
    with pytest.raises(ToolError, match=r"no Try later\."):
        invoke(process_tools.refuse)
    with pytest.raises(ToolError, match="is required"):
        invoke(process_tools.double)


@pytest.mark.slow
def test_a_cancelled_process_tool_is_killed_with_its_children(process_tools: Any, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def main() -> int:
        task = asyncio.create_task(process_tools.hang.invoke({"fifo": str(fifo)}, ToolContext()))
        pid = int(await asyncio.to_thread(fifo.read_text))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pid

    assert gone(asyncio.run(main()))


@pytest.mark.slow
def test_a_process_tool_ends_with_the_process_that_called_it(process_tools: Any, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = (
        "import asyncio, sys, process_tools as it\nasyncio.run(it.hang.invoke({'fifo': sys.argv[1]}, it.ToolContext()))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script, str(fifo)], env=environment) as caller:
        pid = int(fifo.read_text())
        caller.kill()
    assert gone(pid)


def gone(pid: int) -> bool:
    """Whether a process is dead, once the kernel had time to take it down."""
    for _ in range(500):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_what_no_process_can_import_is_refused() -> None:
    def local() -> None: ...

    with pytest.raises(ToolDefinitionError, match="cannot import it"):
        Tool(local, isolation="process")
