"""Which tools an agent has: names that collide, names that no model may use, groups that are closed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentic import Agent, Tool
from agentic.protocols import Tool as ToolProtocol
from agentic.store import MemoryStore
from agentic.testing import ScriptedModel
from agentic.tool import NAME
from agentic.toolbox import Toolbox, fitting_name
from agentic.types.errors import ConfigError, StoreError


def look() -> str:
    """Looks."""
    return "seen"


class Group:
    def __init__(self, name: str, *tools: ToolProtocol) -> None:
        self.name = name
        self.tools = tools
        self.closed = 0

    def __iter__(self) -> Iterator[ToolProtocol]:
        return iter(self.tools)

    async def aclose(self) -> None:
        self.closed += 1


def test_only_what_collides_is_prefixed() -> None:
    one, two = Group("one", Tool(look), Tool(look, name="alone")), Group("two", Tool(look))
    assert list(Toolbox.of([one, two]).tools) == ["one__look", "alone", "two__look"]
    assert list(Toolbox.of([one, look]).tools) == ["one__look", "alone", "look"]


def test_groups_are_closed_with_the_agent_and_when_there_is_none() -> None:
    group = Group("one", Tool(look))
    with Agent(ScriptedModel([]), tools=[group], store=None) as agent:
        assert repr(agent) == "Agent('scripted/model', tools=['look'])"
    assert group.closed == 1
    with pytest.raises(ConfigError, match="Two tools are called 'look'"):
        Agent(ScriptedModel([]), tools=[group, look, look], store=None)
    assert group.closed == 2
    with pytest.raises(ConfigError, match="none of the agent's tools"):
        Agent(ScriptedModel([]), tools=[group], tool_choice="hear", store=None)
    assert group.closed == 3


def test_what_cannot_be_closed_keeps_nothing_else_open() -> None:
    class Stuck(Group):
        async def aclose(self) -> None:
            await super().aclose()
            raise OSError("stuck")

    groups = [Stuck("one"), Group("two"), Stuck("three")]
    store = MemoryStore()
    with pytest.raises(OSError, match="stuck"):
        Agent(ScriptedModel([]), tools=groups, store=store).close()
    assert [group.closed for group in groups] == [1, 1, 1]
    with pytest.raises(StoreError, match="closed"):
        Agent(ScriptedModel(["Hi."]), store=store).run("Hi")


@pytest.mark.parametrize("text", ["", "1", "a b", "größe", "\ud800", "x" * 65, "a" * 64, "-", ".x", "ok"])
def test_every_text_has_a_fitting_name(text: str) -> None:
    assert NAME.fullmatch(fitting_name(text))


def test_fitting_names_of_long_texts_differ() -> None:
    assert fitting_name("x" * 100) != fitting_name("x" * 101)
    assert fitting_name("a" * 64) == "a" * 64
