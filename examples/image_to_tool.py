"""A picture in, a tool call out: over HTTP, with an endpoint that sees what it is sent.

    python examples/image_to_tool.py
    python examples/image_to_tool.py --endpoint http://127.0.0.1:8000/v1 --model NAME

The first form needs no model: the endpoint is a small server in this file that plays the model's part. It is no model,
but it is no recording either: it takes the PNG out of the request, decodes it, and calls the tool with the colour
that it found there. So the picture has to arrive whole. The second form asks a real model that can see and call
tools.

Expected: the endpoint received the picture unchanged: True
Expected: set_lamp({'colour': 'green'}) -> ok: The lamp is green now.
Expected: Done: The lamp is green now.
"""

import argparse
import base64
import json
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from agentic import Agent

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 60), "blue": (30, 60, 220)}


def set_lamp(colour: Literal["red", "green", "blue"]) -> str:
    """Sets the lamp in the room to a colour."""
    return f"The lamp is {colour} now."


def picture(colour: str, side: int = 64) -> bytes:
    """A PNG of one colour: what a camera would have delivered."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + bytes(COLOURS[colour]) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(row * side)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# -- the endpoint that plays the model's part --------------------------------------------------------------------------


class Endpoint(BaseHTTPRequestHandler):
    """`POST /v1/chat/completions`, streamed, as OpenAI documents it: just what this example needs of it."""

    received: bytes = b""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        last = request["messages"][-1]
        if last["role"] == "tool":
            delta: dict[str, Any] = {"content": f"Done: {last['content']}"}
        else:
            (url,) = (part["image_url"]["url"] for part in last["content"] if part["type"] == "image_url")
            Endpoint.received = base64.b64decode(url.removeprefix("data:image/png;base64,"))
            function = {"name": "set_lamp", "arguments": json.dumps({"colour": colour_of(Endpoint.received)})}
            delta = {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        ending: dict[str, Any] = {"delta": {}, "finish_reason": "tool_calls" if "tool_calls" in delta else "stop"}
        for choice in ({"delta": delta, "finish_reason": None}, ending):
            chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the example's output is the agent's."""


def colour_of(png: bytes) -> str:
    """Decodes the first pixel and names the nearest colour."""
    at = png.index(b"IDAT")
    (length,) = struct.unpack(">I", png[at - 4 : at])
    pixel = zlib.decompress(png[at + 4 : at + 4 + length])[1:4]
    return min(COLOURS, key=lambda name: sum(abs(a - b) for a, b in zip(COLOURS[name], pixel, strict=True)))


@contextmanager
def serving() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()


# -- the agent ---------------------------------------------------------------------------------------------------------


def ask(endpoint: str, model: str, image: bytes) -> None:
    with Agent(f"openai/{model}", endpoint=endpoint, tools=[set_lamp], store=None) as agent:
        # Bytes, a path, a URL or an Image; the session's log keeps the picture itself, not a path that may change.
        turn = agent.run("Give the lamp the colour of this picture.", images=[image])
    for call, response in zip(turn.tool_calls, turn.tool_responses, strict=True):
        print(f"{call.name}({dict(call.arguments)}) -> {response.status}: {response.text}")
    print(turn.text)


parser = argparse.ArgumentParser(description="Image to tool call.")
parser.add_argument("--endpoint", help="An OpenAI-compatible server; without one, a stand-in in this file is asked.")
parser.add_argument("--model", default="stand-in", help="A model on that server that sees and calls tools.")
options = parser.parse_args()
image = picture("green")

if options.endpoint:
    ask(options.endpoint, options.model, image)
else:
    with serving() as endpoint:
        ask(endpoint, options.model, image)
    print("the endpoint received the picture unchanged:", Endpoint.received == image)
