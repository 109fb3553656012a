"""What a Llama model really sees and writes: five dialogs as prompts, special tokens highlighted, and their replies.

The dialogs are those that the course on Llama 3.2 teaches: a question, a system message, a built-in search, the code
interpreter, and a tool of one's own with its answer. The replies were written as the models write them; no model runs.

Expected: <|start_header_id|>ipython<|end_header_id|>
Expected:   calls brave_search {'query': 'current weather in Menlo Park'}
Expected:   calls get_boiling_point {'liquid': 'water', 'celsius': True}
Expected:   says 'Water boils at 100 °C.' (end_of_turn)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from agentic.llama import Control, Prompt, encode, parse
from agentic.types import AssistantMessage, Message, SystemMessage, ToolCall, ToolDef, ToolResponse, UserMessage

BOILING_POINT = ToolDef(
    "get_boiling_point",
    "The boiling point of a liquid at sea level.",
    {
        "type": "object",
        "properties": {"liquid": {"type": "string"}, "celsius": {"type": "boolean"}},
        "required": ["liquid"],
    },
)


@dataclass(frozen=True)
class Dialog:
    title: str
    messages: Sequence[Message]
    reply: str
    family: str = "llama3.2"
    tools: Sequence[ToolDef | str] = ()


QUESTION = UserMessage("At what temperature does water boil?")
CALL = ToolCall("get_boiling_point", {"liquid": "water", "celsius": True})
PRIME = "def is_prime(n):\n    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))\n\nprint(is_prime(7))"

DIALOGS = [
    Dialog(
        "A question",
        [UserMessage("Who wrote the book Charlotte's Web?")],
        "E. B. White wrote it, in 1952.<|eot_id|>",
    ),
    Dialog(
        "A system message",
        [SystemMessage("Answer as a pirate."), UserMessage("Who are you?")],
        "Arr, I be a language model!<|eot_id|>",
    ),
    Dialog(
        "A built-in search",
        [UserMessage("What is the weather in Menlo Park?")],
        '<|python_tag|>brave_search.call(query="current weather in Menlo Park")<|eom_id|>',
        family="llama3.1",
        tools=["brave_search", "wolfram_alpha"],
    ),
    Dialog(
        "The code interpreter",
        [UserMessage("Check with code whether 7 is a prime number.")],
        f"<|python_tag|>{PRIME}<|eom_id|>",
        family="llama3.1",
        tools=["code_interpreter"],
    ),
    Dialog(
        "A tool of one's own",
        [QUESTION],
        '[get_boiling_point(liquid="water", celsius=True)]<|eot_id|>',
        tools=[BOILING_POINT],
    ),
    Dialog(
        "A tool of one's own: its answer",
        [QUESTION, AssistantMessage("", (CALL,)), ToolResponse("1", "get_boiling_point", "100")],
        "Water boils at 100 °C.<|eot_id|>",
        tools=[BOILING_POINT],
    ),
]


def highlighted(prompt: Prompt, color: bool) -> str:
    """The prompt's text; special tokens stand out where the terminal can show it."""
    if not color:
        return prompt.text
    parts = (f"\033[1;35m{part.name}\033[0m" if isinstance(part, Control) else part for part in prompt.segments)
    return "".join(parts)


def main() -> None:
    color = sys.stdout.isatty()
    for dialog in DIALOGS:
        prompt = encode(dialog.messages, family=dialog.family, tools=dialog.tools)
        message = parse(dialog.reply, tools=dialog.tools)
        print(f"=== {dialog.title} ({dialog.family}, about {prompt.count().tokens} tokens)")
        print(highlighted(prompt, color))
        print(f"--- the model writes: {dialog.reply}")
        for call in message.tool_calls:
            print(f"  calls {call.name} {dict(call.arguments)}")
        if message.content:
            print(f"  says {message.content!r} ({message.stop_reason})")
        print()


if __name__ == "__main__":
    main()
