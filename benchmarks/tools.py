"""What a tool call costs: CPU time of validation and dispatch, as a ratio to the bare function.

    ./do bench tools [--json] [--calls N]

Whole turns with tools are measured by `overhead`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--calls", type=int, default=2000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(measure(Path(folder), given.calls))
    bare = rows["the function itself"]
    if given.json:
        print(json.dumps({name: {"ms": ms, "ratio_to_the_function": ms / bare} for name, ms in rows.items()}))
        return
    for name, ms in rows.items():
        print(f"{name:36} {ms:9.4f} ms {ms / bare:9.1f}x the function")


if __name__ == "__main__":
    main()
