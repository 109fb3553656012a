"""A process is killed while a tool runs; the next one goes on, and nothing is done twice.

    python examples/session_resume.py

This program starts itself as a child. The child holds a conversation on the embedded model; in its second turn a tool
appends a line to a file and is then killed with SIGKILL, which no program can catch. The parent opens the same session,
takes the turn up, and asks a third question.

Expected: before the kill: ['milk']
Expected: the second turn was left unfinished: True
Expected: outcome_unknown: add_item had started when the turn was cut off; whether it took effect is unknown.
Expected: after resume: ['milk']
Expected: third turn: The shopping list is: milk.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from agentic import Agent, Tool

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
LIST = FOLDER / "list.txt"
IS_CHILD = len(sys.argv) > 1


def add_item(item: str) -> str:
    """Adds an item to the shopping list.

    Args:
        item: What to buy.
    """
    with LIST.open("a") as file:
        file.write(f"{item}\n")
    if IS_CHILD:
        print("written", flush=True)  # tells the parent that the effect has happened and the result has not come back
        time.sleep(60)
    return f"{item} is on the list."


def read_list() -> str:
    """Reads the shopping list out loud: what is on it now."""
    return f"The shopping list is: {', '.join(items())}."


def items() -> list[str]:
    return LIST.read_text().split() if LIST.exists() else []


# Whether the line was written cannot be known from the log: the call had begun, its result is missing. So the model is
# told just that. A tool that may safely run twice would say so, Tool(add_item, idempotent=True), and be run again.
agent = Agent(tools=[Tool(add_item), Tool(read_list)], store=FOLDER / "sessions.db")
session = agent.session("shopping")  # the same name is the same session, in any process

if IS_CHILD:
    session.run("What is on my shopping list?")
    session.run("Add milk to the shopping list.")
    sys.exit("The child was to be killed in the second turn.")

command = [sys.executable, __file__, str(FOLDER)]
with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
    assert child.stdout is not None
    child.stdout.readline()
    child.kill()
print("before the kill:", items())

print("the second turn was left unfinished:", session.interrupted)
turn = session.resume()  # session.run("...") would have closed that turn first, and told the model the same
for response in turn.tool_responses:
    print(f"{response.status}: {response.text}")
print("after resume:", items())
print("third turn:", session.run("What is on my shopping list?").text)
agent.close()
shutil.rmtree(FOLDER)
