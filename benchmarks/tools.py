"""What a tool call costs: CPU time of validation and dispatch, as a ratio to the bare function; and that of a call in a
turn, its inference included, as a ratio to the bare httpx loop of `overhead`.

    ./do bench tools [--json] [--calls N]

Whole turns with tools are measured by `overhead`.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from agentic import Agent
from agentic.protocols import ToolContext
from agentic.tool import Tool


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


async def add_async(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


async def cpu_ms(work: Callable[[], Awaitable[Any]], times: int) -> float:
    """CPU milliseconds per call: the median of five rounds."""
    rounds = []
    await work()
    for _ in range(5):
        began = time.process_time()
        for _ in range(times):
            await work()
        rounds.append((time.process_time() - began) / times * 1000)
    return statistics.median(rounds)


async def four_sleeping(store: Path) -> float:
    """Wall milliseconds of one message with four parallel tools of 50 ms each, the best of five."""
    from agentic import ToolCall
    from agentic.testing import ScriptedModel

    async def nap() -> str:
        """Sleeps 50 ms."""
        await asyncio.sleep(0.05)
        return "rested"

    best = float("inf")
    for _ in range(5):
        model = ScriptedModel([[ToolCall("nap")] * 4, "done"])
        async with Agent(model, tools=[nap], store=store) as agent:
            session = await agent.session().aload()
            began = time.perf_counter()
            await session.arun("Go.")
            best = min(best, time.perf_counter() - began)
    return best * 1000


async def measure(folder: Path, calls: int) -> dict[str, float]:
    sync_tool, async_tool, context = Tool(add), Tool(add_async), ToolContext()
    return {
        "the function itself": await cpu_ms(lambda: add_async(1, 2), calls),
        "Tool.invoke, async": await cpu_ms(lambda: async_tool.invoke({"a": 1, "b": 2}, context), calls),
        "Tool.invoke, sync (a thread)": await cpu_ms(lambda: sync_tool.invoke({"a": 1, "b": 2}, context), calls),
        "four parallel 50 ms tools (wall)": await four_sleeping(folder / "p.db"),
    }


def in_turns(folder: Path) -> dict[str, tuple[float, float]]:
    """CPU milliseconds of one call in a turn, ours and the loop's: what ten calls add to a turn without any."""
    overhead = importlib.import_module("overhead")  # the file beside this one
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=overhead.serve, args=(theirs,), daemon=True)
    server.start()
    try:
        bench = overhead.Bench(f"http://127.0.0.1:{ours.recv()}", folder, True)
        asyncio.run(bench.turns())
    finally:
        server.terminate()
        server.join()
    turns = {name: (figure, loop) for name, _, loop, figure in bench.rows}

    def added(where: str, which: int) -> float:
        return float((turns[f"turn, 10 tools{where}"][which] - turns[f"turn, no tool{where}"][which]) / 10)

    return {
        "call in a turn, on SQLite": (added("", 0), added("", 1)),
        "call in a turn, in memory": (added(", in memory", 0), added(", in memory", 1)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--calls", type=int, default=2000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(measure(Path(folder), given.calls))
        turns = in_turns(Path(folder))
    napping = rows.pop("four parallel 50 ms tools (wall)")
    bare = rows["the function itself"]
    if given.json:
        found = {name: {"ms": ms, "ratio_to_the_function": ms / bare} for name, ms in rows.items()}
        found |= {name: {"ms": ms, "ratio_to_the_loop": ms / loop} for name, (ms, loop) in turns.items()}
        print(json.dumps(found | {"four parallel 50 ms tools": {"ms": napping}}))
        return
    for name, ms in rows.items():
        print(f"{name:36} {ms:9.4f} ms {ms / bare:9.1f}x the function")
    for name, (ms, loop) in turns.items():
        print(f"{name:36} {ms:9.4f} ms {ms / loop:9.2f}x the loop's {loop:.4f} ms")
    print(f"{'four parallel 50 ms tools (wall)':36} {napping:9.4f} ms")


if __name__ == "__main__":
    main()
