"""A Llama model's view of its prompt, for servers that are sent text: only enough to answer like one."""

from __future__ import annotations

import json
import re
from typing import Any

from .brain import Call, Reply, Said, Seen

_MESSAGE = re.compile(
    r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\n\n(.*?)(?:<\|eot_id\|>|<\|eom_id\|>|$)", re.DOTALL
)


def read_prompt(prompt: str, images: list[bytes], schema: Any = None) -> Seen:
    """The conversation in a prompt; the images stand where `<|image|>` does."""
    waiting = list(images)
    messages: list[Said] = []
    for role, text in _MESSAGE.findall(prompt):
        count = text.count("<|image|>")
        taken, waiting = tuple(waiting[:count]), waiting[count:]
        words = text.replace("<|image|>", "")
        messages.append(Said("tool" if role == "ipython" else role, words.strip(), taken))
    assert not waiting, "there are more images than places for them"
    last = messages.pop()
    assert last.role == "assistant", "the prompt must end where the assistant begins"
    assert not last.text
    tools = tuple(dict.fromkeys(re.findall(r'"name":\s*"(\w+)"', prompt)))
    return Seen(tuple(messages), tools, schema)


def generated(reply: Reply) -> str:
    """What a Llama 3.2 model would generate for the reply."""
    if reply.raw is not None:
        return reply.raw
    if not reply.calls:
        return reply.text + ("" if reply.cut_off else "<|eot_id|>")
    return f"{reply.text}[{', '.join(map(_call, reply.calls))}]<|eot_id|>"


def _call(call: Call) -> str:
    return f"{call.name}({', '.join(f'{name}={json.dumps(value)}' for name, value in call.arguments.items())})"
