"""A model answers a question by calling a Python function: the smallest whole agent.

    python examples/hello_tool.py

It runs on the embedded model: no key, no server. The model has 135 million parameters and is there to work offline, so
an embedding model picks the tool for it, it writes the arguments, and a template words the answer. With a larger model
(`AGENTIC_MODEL=ollama/llama3.2:3b python examples/hello_tool.py`) all three are the model's own work.

Expected: weekday({'date': '2024-07-04'}) -> 2024-07-04 is a Thursday.
Expected: 2024-07-04 is a Thursday.
"""

import datetime as dt

from agentic import Agent


# A typed function is a tool. Its signature becomes the JSON schema that the model's arguments are checked against, and
# its docstring is all that the model knows of it: write both for a reader who cannot see the code.
def weekday(date: str) -> str:
    """Tells on which day of the week a date falls.

    Args:
        date: The date as YYYY-MM-DD.
    """
    # A date that does not exist raises ValueError. That is no crash: its text is the result that the model reads.
    return f"{date} is a {dt.date.fromisoformat(date):%A}."


# store=None keeps the session in memory; the default is a file in your data folder. `with` closes the model.
with Agent(tools=[weekday], store=None) as agent:
    turn = agent.run("What day of the week is 2024-07-04?")

# The turn is a record of what happened: here, two inferences with the call between them.
for call, response in zip(turn.tool_calls, turn.tool_responses, strict=True):
    print(f"{call.name}({dict(call.arguments)}) -> {response.text}")
print(turn.text)
