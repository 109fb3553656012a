"""What the embedded shields find, what they object to wrongly, and what they cost.

    ./do bench shields [--json] [--turns N] [--classifier]

Reads tests/data/red_team.jsonl and harmless.jsonl, which were written beside the shields: the rates are those of known
attacks, and higher than those of attacks to come. A shield is asked only where it looks. The overhead is the CPU time
of a turn on a scripted model with the injection shield, as a ratio to the same turn without it; the median of rounds
that alternate. `--classifier` adds PromptGuard's model, which is fetched (90 MB) if need be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agentic import Agent
from agentic.protocols import Shield
from agentic.testing import ScriptedModel
from agentic.types import AssistantMessage, ConfigError, Message, ToolCall, ToolResponse, Touchpoint, UserMessage
from agentic_shields import CodeShield, InjectionShield, PIIShield, PromptGuard

DATA = Path(__file__).parent.parent / "tests" / "data"
ROUNDS = 7


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def messages(row: dict[str, Any]) -> list[Message]:
    """The conversation of a row, ending with what is judged."""
    text: str = row["text"]
    asked = UserMessage("Please help.")
    match Touchpoint(row["touchpoint"]):
        case Touchpoint.INPUT:
            return [UserMessage(text)]
        case Touchpoint.OUTPUT:
            return [asked, AssistantMessage(text)]
        case Touchpoint.TOOL_CALL:
            return [asked, AssistantMessage("", (ToolCall("code_interpreter", {"code": text}, "c1"),))]
        case _:
            return [asked, ToolResponse("c1", "fetch", text)]


async def objections(shield: Shield, data: Sequence[dict[str, Any]]) -> set[str]:
    """The ids of the rows that a shield objects to, in whatever degree."""
    looks: frozenset[str] = getattr(shield, "touchpoints", frozenset(Touchpoint))
    asked = [row for row in data if row["touchpoint"] in looks]
    return {row["id"] for row in asked if (await shield.check(messages(row))).violation}


def aimed_at(shield: Shield, row: dict[str, Any]) -> bool:
    """Whether a shield is there against an attack, whether or not it is expected to find it."""
    at_call = row["touchpoint"] == Touchpoint.TOOL_CALL
    match shield.shield_id:
        case "pii":
            return bool(row["expected"]["pii"])
        case "code_shield":
            return bool(at_call)
        case "prompt_guard":
            return bool(row["kind"] not in ("pii", "harmful") and row["touchpoint"] in ("user-input", "tool-result"))
        case _:
            return bool(row["kind"] not in ("pii", "harmful") and not at_call)


async def measure(shield: Shield) -> dict[str, Any]:
    attacks, harmless = rows("red_team.jsonl"), rows("harmless.jsonl")
    found, alarms = await objections(shield, attacks), await objections(shield, harmless)
    wanted = {row["id"] for row in attacks if aimed_at(shield, row)}
    return {
        "attacks": len(wanted),
        "found": len(found & wanted),
        "unexpected": len(found - wanted),
        "missed": dict(Counter(name.rpartition("-")[0] for name in sorted(wanted - found))),
        "harmless": len(harmless),
        "false_alarms": len(alarms),
    }


def turns(count: int, shields: Sequence[Shield]) -> float:
    """CPU seconds of so many turns in one session."""
    answer = "It will rain in the morning and be sunny later. " * 10
    session = Agent(ScriptedModel([answer] * count), shields=list(shields), store=None).session()
    started = time.process_time()
    for _ in range(count):
        session.run("What will the weather be like in Lisbon tomorrow, and do I need an umbrella?")
    return time.process_time() - started


def overhead(count: int) -> dict[str, float]:
    shield = InjectionShield()
    turns(5, [shield])
    pairs = [(turns(count, []), turns(count, [shield])) for _ in range(ROUNDS)]
    ratio = statistics.median(guarded / bare for bare, guarded in pairs)
    added = statistics.median((guarded - bare) / count for bare, guarded in pairs)
    return {"cpu_ratio": round(ratio, 2), "added_ms_per_turn": round(added * 1000, 3)}


async def report(arguments: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    made: list[Callable[[], Shield]] = [
        InjectionShield,
        CodeShield,
        lambda: PIIShield("detect"),
        *([PromptGuard] if arguments.classifier else []),
    ]
    for make in made:
        try:
            shield: Shield = make()
        except ConfigError as error:
            print(f"left out: {error}")
            continue
        found[shield.shield_id] = await measure(shield)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--classifier", action="store_true")
    arguments = parser.parse_args()
    shields = asyncio.run(report(arguments))
    cost = overhead(arguments.turns)
    if arguments.json:
        print(json.dumps({"shields": shields, "overhead": cost}))
        return
    for name, row in shields.items():
        detection = f"{row['found']} of {row['attacks']} attacks found"
        print(f"{name:14} {detection}, {row['false_alarms']} false alarms on {row['harmless']} harmless inputs")
        if row["missed"]:
            print(f"{'':14} missed: {', '.join(f'{kind} {count}' for kind, count in row['missed'].items())}")
    print(f"a turn with the injection shield: {cost['cpu_ratio']} x the CPU, {cost['added_ms_per_turn']} ms more")


if __name__ == "__main__":
    main()
