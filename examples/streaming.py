"""Everything that happens in a turn, as it happens.

    python examples/streaming.py

Two turns on the embedded model: one calls a tool that reports its progress, one is plain talk that arrives in pieces.

Expected: [inference]
Expected: [tool_execution]
Expected: ... 7 is prime
Expected: There are 8 prime numbers up to 20.
Expected: (end_of_turn)
"""

from agentic import (
    Agent,
    StepStarted,
    TextDelta,
    ToolCallCompleted,
    ToolCallStarted,
    ToolContext,
    ToolProgress,
    TurnCompleted,
)
from agentic.types import Event


# A parameter of the type ToolContext is filled in by the orchestrator; the model does not see it.
def find_primes(limit: int, context: ToolContext) -> str:
    """Finds all prime numbers up to a limit.

    Args:
        limit: The largest number to look at.
    """
    found: list[int] = []
    for number in range(2, limit + 1):
        if all(number % prime for prime in found):
            found.append(number)
            context.report(f"{number} is prime")  # a ToolProgress event; no part of the result
    return f"There are {len(found)} prime numbers up to {limit}."


# Events are frozen dataclasses, made to be matched. Those that are not of interest are simply left out.
def show(event: Event) -> None:
    match event:
        case StepStarted(step_type=kind):
            print(f"[{kind}]")
        case TextDelta(text=text):
            print(text, end="", flush=True)
        case ToolCallStarted(call=call):
            print(f"calls {call.name}({dict(call.arguments)})")
        case ToolProgress(content=content):
            print(f"... {content}")
        case ToolCallCompleted(response=response):
            print(f"{response.status}: {response.text}")
        case TurnCompleted(turn=turn):
            print(f"\n({turn.reason})")  # why it ended: a limit or a shield ends a turn as cleanly as an answer does


with Agent(tools=[find_primes], store=None) as agent:
    for event in agent.stream("Find all prime numbers up to 20."):
        show(event)
    for event in agent.stream("Write one sentence about the sea."):
        show(event)
