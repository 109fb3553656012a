"""An MCP server that misbehaves as its first argument says. Without the SDK, which would not let it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

MODE = sys.argv[1]
SCHEMAS: dict[str, Any] = {
    "no_object": {"type": "string"},
    "no_schema": {"type": "object", "properties": {"a": {"type": "strin"}}},
    "fat": {"type": "object", "properties": {f"p{n}": {"enum": ["x" * 50]} for n in range(10_000)}},
    "deep": json.loads('{"not":' * 300 + "{}" + "}" * 300),
}
NAMES = {"duplicates": ["run", "run", "a b", "a/b"]}.get(MODE, ["run"])


def answer(request: dict[str, Any], result: Any) -> None:
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)


def tool(name: str) -> dict[str, Any]:
    schema = SCHEMAS.get(MODE, {"type": "object", "properties": {}})
    # A check of the result against this pattern takes longer than the sun will shine.
    output = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    return {"name": name, "inputSchema": schema, **({"outputSchema": output} if MODE == "pattern" else {})}


def listing(request: dict[str, Any]) -> dict[str, Any]:
    tools = [tool(name) for name in NAMES]
    return {"tools": tools, "nextCursor": "again"} if MODE == "endless" else {"tools": tools}


def call(request: dict[str, Any]) -> Any:
    if MODE == "huge":
        return {"content": [{"type": "text", "text": "x" * 17_000_000}]}
    if MODE == "broken":
        print('{"jsonrpc": "2.0", "id": ', flush=True)
    if MODE == "odd_result":
        return {"content": 5}
    if MODE == "pattern":
        return {"content": [], "structuredContent": {"a": "a" * 60 + "!"}}
    if MODE == "mute":
        time.sleep(1000)
    if MODE == "half":  # of a character, as an escape, and as bytes
        text = b'{"jsonrpc": "2.0", "id": %d, "result": {"content": [{"type": "text", "text": "x\\ud83d \xf0\x9f"}]}}\n'
        sys.stdout.buffer.write(text % request["id"])
        sys.stdout.flush()
    if MODE == "blob":
        contents = {"uri": "notes://2/a%20b.csv", "mimeType": "text/csv", "blob": "YSxi"}
        broken = {"uri": "notes://3", "blob": "!"}
        return {"content": [{"type": "resource", "resource": one} for one in (contents, broken)]}
    if MODE == "flood":
        token = request["params"]["_meta"]["progressToken"]
        for done in range(3000):
            params = {"progressToken": token, "progress": done}
            print(json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
    return {"content": [{"type": "text", "text": "ran"}]}


def main() -> None:
    if "PIDS" in os.environ:
        with Path(os.environ["PIDS"]).open("a", encoding="utf-8") as opened:
            opened.write(f"{os.getpid()}\n")
    if MODE == "exits":
        sys.exit("No key was given.")
    if MODE == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        request = json.loads(line)
        if MODE == "silent" or "id" not in request:
            continue
        if MODE == "prints":
            print("Handling a request ...")
        match request["method"]:
            case "initialize":
                info = {"name": "rogue", "version": "1"}
                capabilities: dict[str, Any] = {"tools": {}}
                version = "1999-01-01" if MODE == "old" else "2025-06-18"
                answer(request, {"protocolVersion": version, "capabilities": capabilities, "serverInfo": info})
            case "tools/list":
                answer(request, listing(request))
                time.sleep(1000 if MODE == "numb" else 0)
            case "tools/call":
                answer(request, call(request))
            case _:
                error = {"code": -32601, "message": "Method not found"}
                print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}), flush=True)
    while MODE == "deaf":
        time.sleep(1000)


main()
