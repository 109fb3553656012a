"""How often the embedded models call the right tool with the right arguments.

    python benchmarks/local_tools.py                       # both bars and the baseline
    python benchmarks/local_tools.py --only routed --misses

64 questions over 8 tools and 24 that want none, all of our own wording (`local_tools.json`, `test`). Prompts and
thresholds were set on other questions (`development`). Arguments are compared after this normalisation: texts without
case, outer quotes, articles in front, end punctuation and a plural s; numbers by value; an expression without blanks;
an optional argument that has its default counts as left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agentic.inference.local import connect
from agentic.protocols import Inference
from agentic.types import Completion, InferenceRequest, SamplingParams, ToolDef, UserMessage

DATA = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
SUBJECTS = {
    "routed": ("local/smollm2-135m-instruct", "routed"),
    "constrained": ("local/qwen2.5-coder-1.5b-instruct", "constrained"),
    "free": ("local/smollm2-135m-instruct", "native"),
    "routed-bare": ("local/smollm2-135m-instruct", "routed"),
}
"""`free` is the baseline; `routed-bare` hides the tools' own examples from the router."""

DEFAULT = ("free", "routed", "constrained")


@dataclass
class Score:
    """Counts for one subject; `cpu_seconds` is the mean of one question."""

    subject: str
    model: str
    strategy: str
    questions: int = 0
    right_tool: int = 0
    all_right: int = 0
    without_tool: int = 0
    false_calls: int = 0
    cpu_seconds: float = 0.0
    misses: list[str] = field(default_factory=list)


def tools_of(*, with_examples: bool) -> list[ToolDef]:
    return [
        ToolDef(
            tool["name"],
            tool["description"],
            tool["parameters"],
            {"examples": tool["examples"]} if with_examples else {},
        )
        for tool in DATA["tools"]
    ]


async def call_of(inference: Inference, tools: list[ToolDef], question: str) -> tuple[str | None, Mapping[str, Any]]:
    """The tool and the arguments that the model chose; free-form JSON in its text counts too."""
    sampling = SamplingParams(max_tokens=200)
    prepared = await inference.prepare(
        InferenceRequest(messages=[UserMessage(question)], tools=tools, sampling=sampling)
    )
    async for delta in inference.generate(prepared):
        if isinstance(delta, Completion):
            for call in delta.message.tool_calls:
                return call.name or None, call.arguments
            return free_form(delta.message.content)
    return None, {}


def free_form(text: str) -> tuple[str | None, Mapping[str, Any]]:
    """The first JSON object in a text that looks like a call: the baseline gets the benefit of every doubt."""
    decoder = json.JSONDecoder()
    for found in re.finditer(r"\{", text):
        try:
            value, _end = decoder.raw_decode(text, found.start())
        except ValueError:
            continue
        name = value.get("name") or value.get("function") or value.get("tool")
        arguments = value.get("arguments", value.get("parameters", {}))
        if isinstance(name, str) and isinstance(arguments, dict):
            return name, arguments
    return None, {}


def same(tool: Mapping[str, Any], wanted: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    properties = tool["parameters"]["properties"]

    def clean(arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: normal(value, key)
            for key, value in arguments.items()
            if value is not None and ("default" not in properties.get(key, {}) or value != properties[key]["default"])
        }

    return clean(wanted) == clean(found)


def normal(value: Any, key: str) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return float(value)
    text = str(value).casefold().strip(" \"'.,!?")
    if key == "expression":
        return re.sub(r"\s", "", text)
    return re.sub(r"^(?:the|an|a|my) ", "", text).removesuffix("s")


async def measure(subject: str, rows: list[dict[str, Any]]) -> Score:
    model, strategy = SUBJECTS[subject]
    score = Score(subject, model, strategy)
    inference = connect(model, tool_strategy=strategy)  # type: ignore[arg-type]
    tools = tools_of(with_examples=subject != "routed-bare")
    known = {tool["name"]: tool for tool in DATA["tools"]}
    try:
        await call_of(inference, tools, "Hello!")  # loads the models
        started = time.process_time()
        for row in rows:
            name, arguments = await call_of(inference, tools, row["user"])
            wanted = row["tool"]
            if wanted is None:
                score.without_tool += 1
                score.false_calls += name is not None
                right = name is None
            else:
                score.questions += 1
                score.right_tool += name == wanted
                right = name == wanted and same(known[wanted], row["arguments"], arguments)
                score.all_right += right
            if not right:
                score.misses.append(f"{row['user']} -> {name} {json.dumps(dict(arguments), ensure_ascii=False)}")
        score.cpu_seconds = (time.process_time() - started) / len(rows)
    finally:
        await inference.aclose()
    return score


def table(scores: list[Score]) -> str:
    lines = [f"{'model':<42} {'strategy':<12} {'right tool':>11} {'all right':>15} {'false calls':>12} {'CPU s':>6}"]
    for score in scores:
        share = 100 * score.all_right / max(score.questions, 1)
        lines.append(
            f"{score.model:<42} {score.subject:<12} {score.right_tool:>5} of {score.questions:<2} "
            f"{score.all_right:>5} of {score.questions:<2} {share:3.0f}% "
            f"{score.false_calls:>5} of {score.without_tool:<2} {score.cpu_seconds:>6.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=("test", "development"), default="test", help="which questions")
    parser.add_argument("--only", choices=SUBJECTS, action="append", help="one subject; may be repeated")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument("--misses", action="store_true", help="list what went wrong")
    options = parser.parse_args()
    scores = [asyncio.run(measure(subject, DATA[options.set])) for subject in options.only or DEFAULT]
    if options.json:
        json.dump([asdict(score) for score in scores], sys.stdout, indent=2, ensure_ascii=False)
        print()
        return
    print(table(scores))
    if options.misses:
        for score in scores:
            print(f"\n{score.subject}:", *score.misses, sep="\n  ")


if __name__ == "__main__":
    main()
