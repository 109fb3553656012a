"""How fast the code interpreter is, and what it costs: `python benchmarks/code_interpreter.py [level]`.

cold: from nothing to the first result. spare: the first result of a session when the zygote is ready. warm: any later
call. memory: what one more session takes for itself (its private pages).
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from agentic_tools.code_interpreter import CodeInterpreter

SESSIONS = 20
CALLS = 500


async def timed(action: Callable[[], Awaitable[object]]) -> float:
    start = time.perf_counter()
    await action()
    return (time.perf_counter() - start) * 1000


def private_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


def spread(name: str, times: list[float]) -> None:
    times.sort()
    middle, late = times[len(times) // 2], times[int(len(times) * 0.95)]
    print(f"{name:<28} p50 {middle:8.2f} ms   p95 {late:8.2f} ms   ({len(times)} times)")


async def measure(level: Any) -> None:
    interpreter = CodeInterpreter(isolation=level)
    try:
        cold = await timed(lambda: interpreter.run("1 + 1"))
        zygote = interpreter._engine.zygote  # noqa: SLF001 - a benchmark looks inside
        print(f"level {zygote.level if zygote else '?'}, {os.cpu_count()} cores\n{'cold':<28}     {cold:8.0f} ms")
        spread("spare", [await timed(partial(interpreter.run, "1 + 1", session=f"{n}")) for n in range(SESSIONS)])
        spread("warm", [await timed(lambda: interpreter.run("x = 1")) for _ in range(CALLS)])
        spread("numpy, pandas imported", [await timed(lambda: interpreter.run("import numpy, pandas"))])
        sessions = [session.kernel for session in interpreter._engine.sessions.values()]  # noqa: SLF001
        taken = [private_bytes(kernel._pid) for kernel in sessions if kernel]  # noqa: SLF001
        print(f"{'memory of a session':<28}     {sum(taken) / len(taken) / 2**20:8.1f} MiB")
        together = await timed(
            lambda: asyncio.gather(*(interpreter.run("sum(range(1000))", session=f"all {n}") for n in range(50)))
        )
        print(f"{'50 new sessions at once':<28}     {together:8.0f} ms")
    finally:
        await interpreter.aclose()


if __name__ == "__main__":
    for level in sys.argv[1:] or ["strong", "medium"]:
        asyncio.run(measure(level))
