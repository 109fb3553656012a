"""The red-team file says of each embedded shield whether it objects; the harmless file, that none does."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from agentic.protocols import Shield
from agentic.types import AssistantMessage, Message, ToolCall, ToolResponse, Touchpoint, UserMessage
from agentic_shields import CodeShield, InjectionShield, PIIShield

DATA = Path(__file__).parent.parent / "data"
FALSE_ALARMS = {"pii": {"harmless-191"}}
"""Known: the expiry time in a signed address has the form of a telephone number."""


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def message(row: dict[str, Any]) -> Message:
    match Touchpoint(row["touchpoint"]):
        case Touchpoint.INPUT:
            return UserMessage(row["text"])
        case Touchpoint.OUTPUT:
            return AssistantMessage(row["text"])
        case Touchpoint.TOOL_CALL:
            return AssistantMessage("", (ToolCall("code_interpreter", {"code": row["text"]}, "c1"),))
        case _:
            return ToolResponse("c1", "fetch", row["text"])


def objections(shield: Shield, data: list[dict[str, Any]]) -> set[str]:
    async def ask() -> set[str]:
        looks: frozenset[str] = getattr(shield, "touchpoints", frozenset())
        asked = [row for row in data if row["touchpoint"] in looks]
        return {row["id"] for row in asked if (await shield.check([message(row)])).violation}

    return asyncio.run(ask())


@pytest.mark.parametrize("make", [InjectionShield, CodeShield, lambda: PIIShield("detect")])
def test_each_verdict_is_as_expected(make: Any) -> None:
    shield = make()
    attacks, harmless = rows("red_team.jsonl"), rows("harmless.jsonl")
    assert objections(shield, attacks) == {row["id"] for row in attacks if row["expected"][shield.shield_id]}
    assert objections(shield, harmless) == FALSE_ALARMS.get(shield.shield_id, set())


def test_the_files_are_what_they_are_said_to_be() -> None:
    attacks, harmless = rows("red_team.jsonl"), rows("harmless.jsonl")
    assert len({row["text"] for row in attacks}) == len(attacks) >= 150
    assert len({row["text"] for row in harmless}) == len(harmless) == 300
    assert len({row["id"] for row in attacks + harmless}) == len(attacks) + len(harmless)
