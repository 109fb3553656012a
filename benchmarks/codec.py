"""Measures the Llama codec: what it gets right, how fast it is, and what hostile text costs it.

    python benchmarks/codec.py           # a table for each section
    python benchmarks/codec.py --json    # one JSON object

Times are CPU time of this process, the best of a few runs; of the encoder wall time, as they are below a clock tick.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from agentic.llama import StreamParser, Tokenizer, encode, parse
from agentic.types import AssistantMessage, Message, ToolCall, ToolDef, ToolResponse, UserMessage

DATA = Path(__file__).parents[1] / "tests" / "data" / "llama"
HOSTILE_CHARS = 100_000


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = options.parse_args().json
    results = {name: measure() for name, measure in SECTIONS.items()}
    if as_json:
        print(json.dumps(results, indent=2))
        return
    for name, rows in results.items():
        print(f"\n{name}")
        for key, value in rows.items():
            print(f"  {key:34} {value}")


def decode_accuracy() -> dict[str, Any]:
    """Cases and real generations that are read as their labels say, and rows that streaming reads differently."""
    cases, samples = _rows("cases.jsonl"), _rows("native-samples.jsonl")
    clear = [case for case in cases if not case["ambiguous"]]
    called = [sample for sample in samples if sample["gold_calls"]]
    return {
        "clear cases right": f"{sum(map(_case_right, clear))}/{len(clear)}",
        "ambiguous cases as labelled": f"{sum(map(_case_right, cases)) - len(clear)}/{len(cases) - len(clear)}",
        "real calls found": f"{sum(_calls(sample) == sample['gold_calls'] for sample in called)}/{len(called)}",
        "calls in real texts": _false_calls(samples),
        "rows that streaming reads differently": sum(map(_streams_differently, cases + samples)),
    }


def _false_calls(samples: list[dict[str, Any]]) -> str:
    texts = [sample for sample in samples if not sample["gold_calls"]]
    found = [sample["raw"] for sample in texts if _calls(sample)]
    return f"{len(found)}/{len(texts)}" + "".join(f"; {text[:40]!r}…" for text in found)


def decode_speed() -> dict[str, Any]:
    """Million characters a second, whole and in pieces of four characters."""
    results: dict[str, Any] = {}
    for name, corpus in _corpora().items():
        size = sum(len(text) for text, _ in corpus)
        whole = _seconds(partial(_each, _at_once, corpus))
        pieces = _seconds(partial(_each, _in_fours, corpus))
        results[name] = {"whole": round(size / whole / 1e6, 2), "in fours": round(size / pieces / 1e6, 2)}
    return results


def decode_hostile() -> dict[str, Any]:
    """Milliseconds for 100 KB of hostile text, and how many times longer 1 MB takes."""
    results: dict[str, Any] = {}
    for name, (prefix, unit) in HOSTILE.items():
        text = prefix + unit * (HOSTILE_CHARS // len(unit))
        longer = prefix + unit * (10 * HOSTILE_CHARS // len(unit))
        short = _seconds(partial(_at_once, text, ["f", "A"]))
        long = _seconds(partial(_at_once, longer, ["f", "A"]), runs=2)
        results[name] = {"ms": round(short * 1e3, 1), "x10": round(long / short, 1)}
    results["worst"] = {
        "ms": max(row["ms"] for row in results.values()),
        "x10": max(row["x10"] for row in results.values() if row["ms"] >= 1),
    }
    return results


def encode_speed() -> dict[str, Any]:
    """Milliseconds to encode a session of 1,000 messages, and again each time that one message was added."""
    tools = [ToolDef(f"tool_{number}", "Looks something up.") for number in range(10)]
    session: list[Message] = []
    for number in range(250):
        call = ToolCall("tool_1", {"query": f"question {number}", "k": 5})
        session += [UserMessage(f"Question {number}: " + "word " * 40), AssistantMessage("", (call,))]
        session += [ToolResponse("", "tool_1", "result " * 60), AssistantMessage("That is so. " * 10)]
    results: dict[str, Any] = {"first time": _milliseconds(partial(encode, session, tools=tools))}
    added = []
    for number in range(50):
        session = [*session, UserMessage(f"One more: {number}")]
        added.append(_milliseconds(partial(encode, session, tools=tools)))
    results["one more message, median"] = round(statistics.median(added), 3)
    results["one more message, worst of 50"] = max(added)
    tokenizer, prompt = Tokenizer.load(), encode(session, tools=tools)
    results["tokens, first time"] = _milliseconds(lambda: prompt.tokens(tokenizer))
    longer = encode([*session, UserMessage("And one more.")], tools=tools)
    results["tokens, one more message"] = _milliseconds(lambda: longer.tokens(tokenizer))
    results["characters"] = len(prompt.text)
    return results


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return round((time.perf_counter() - start) * 1e3, 3)


CALL = '{"name": "f", "parameters": {"a": 1}}'
HOSTILE: dict[str, tuple[str, str]] = {
    "[": ("", "["),
    "{": ("", "{"),
    "(": ("", "("),
    "<function=": ("", "<function="),
    "<function=x>{": ("", "<function=x>{"),
    "[A(A=\\t": ("", "[A(A=\t"),
    "[A(A=\\t)A(A=,\\t": ("[A(A=", "\t)A(A=,\t"),
    "2,000 and more calls": ("", f"{CALL}; "),
    "a list of calls": ("[", "f(a=1, b='some text of a call'), "),
    "unterminated string": ('[f(a="', "x, "),
    "quotes in a string": ('[f(a="', 'a"b '),
    "strings never closed": ("[f(", "a='x, "),
    "backslashes": ('[f(a="', "\\"),
    "strings beside each other": ("[f(a=", "'x\\n' "),
    "lambdas": ("[f(a=", "lambda x, "),
    "empty lists": ("[f(a=[", "[],"),
    "deep lists": ("[f(a=", "["),
    "deep objects": ("[f(a=", '{"a":'),
    "deep JSON": ('{"name": "f", "parameters": ', '{"a":'),
    "commas": ("[f(", ","),
    "names": ("[f(", "a="),
    "unquoted values": ("[f(x=[", "1/2,"),
    "numbers": ("[f(x=[", "1,"),
    "one long number": ("[f(x=", "9"),
    "stray brackets": ("[f(x=1)", "]"),
    "objects begun": ("", '{"name":'),
    "calls begun": ("", "f("),
    "lists begun": ("", "[ "),
    "tags begun": ("", "<|"),
    "python tags": ("", "<|python_tag|>"),
    "ticks": ("", "`x"),
    "fences": ("", "```\n"),
    "blanks": ("", " "),
    "calls in prose": ("", "see [f(x=1)] "),
    "tags in prose": ("", 'see <function=f>{"a": 1}</function> '),
}


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]


def _calls(row: dict[str, Any]) -> list[list[Any]]:
    return [[call.name, dict(call.arguments)] for call in parse(row["raw"], tools=row["tools"]).tool_calls]


def _case_right(case: dict[str, Any]) -> bool:
    message, expected = parse(case["raw"], tools=case["tools"]), case["expected"]
    calls = [[call["name"], call["arguments"]] for call in expected["tool_calls"]]
    return [message.content, _calls(case), message.stop_reason] == [expected["content"], calls, expected["stop_reason"]]


def _streams_differently(row: dict[str, Any]) -> bool:
    return _in_fours(row["raw"], row["tools"]) != _at_once(row["raw"], row["tools"])


def _each(read: Callable[[str, Any], object], corpus: list[tuple[str, Any]]) -> None:
    for text, tools in corpus:
        read(text, tools)


def _at_once(text: str, tools: Any) -> AssistantMessage:
    return parse(text, tools=tools)


def _in_fours(text: str, tools: Any) -> AssistantMessage:
    parser = StreamParser(tools=tools)
    for at in range(0, len(text), 4):
        parser.feed(text[at : at + 4])
    return parser.finish()


def _corpora() -> dict[str, list[tuple[str, Any]]]:
    samples, cases = _rows("native-samples.jsonl"), _rows("cases.jsonl")
    call = "get_weather(city='San Francisco', days={}, unit=\"celsius\", flags=[True, None, 3.5])"
    arguments = {"city": "San Francisco", "unit": "celsius", "nested": {"a": [1, 2, 3], "b": None}}
    json_call = json.dumps({"name": "get_weather", "parameters": arguments})
    counts = [1, 2, 3] * 10
    return {
        "real generations": [(sample["raw"], sample["tools"]) for sample in samples],
        "edge cases": [(case["raw"], case["tools"]) for case in cases],
        "lists": [(f"[{', '.join(map(call.format, range(count)))}]", ["get_weather"]) for count in counts],
        "json": [("; ".join([json_call] * count), ["get_weather"]) for count in counts],
    }


def _seconds(work: Callable[[], object], runs: int = 5) -> float:
    best = float("inf")
    for _ in range(runs):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return max(best, 1e-6)


SECTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "decode accuracy": decode_accuracy,
    "decode speed (million characters a second)": decode_speed,
    "decode hostile text": decode_hostile,
    "encode (milliseconds)": encode_speed,
}

if __name__ == "__main__":
    main()
