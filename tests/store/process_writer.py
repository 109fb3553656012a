"""A process of its own for the tests: opens a store, says so, waits for a line, and appends until it is killed.

Usage: process_writer.py WHERE SESSION APPENDS. After each append the log's length is printed.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

from agentic.store import open_store
from agentic.types.messages import UserMessage
from agentic.types.records import Record, TurnClosed, TurnOpened
from agentic.types.turns import EndReason, Limits


def turn(turn_id: str) -> list[Record]:
    now, text = datetime.now(UTC), "x" * 500
    return [
        TurnOpened(turn_id=turn_id, at=now, input_messages=(UserMessage(text),), limits=Limits()),
        TurnClosed(turn_id=turn_id, at=now, reason=EndReason.END_OF_TURN),
    ]


async def main(where: str, session_id: str, appends: int) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    store = open_store(where)
    await store.create(session_id)
    lease = await store.acquire(session_id)
    for number in range(appends):
        await store.append(lease, turn(f"{session_id}-{number}"))
        print(lease.seq, flush=True)
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
