"""An agent that computes with Python in a jail, on a model that follows a script. Needs Linux.

Expected: completed
Expected: The average is 20.0.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from agentic import Agent
from agentic.testing import ScriptedModel
from agentic.types.tools import ToolCall
from agentic_tools.code_interpreter import CodeInterpreter

CODE = """
import csv, statistics
statistics.mean(float(row["sold"]) for row in csv.DictReader(open("sales.csv")))
"""


def main() -> None:
    model = ScriptedModel([ToolCall("code_interpreter", {"code": CODE}, "call_1"), "The average is 20.0."])
    with TemporaryDirectory() as folder:
        sales = Path(folder, "sales.csv")
        sales.write_text("month,sold\n1,10\n2,30\n", encoding="utf-8")
        interpreter = CodeInterpreter(files=[sales])
        with Agent(model, tools=[interpreter], store=None) as agent:
            turn = agent.run("What is the average of the sales?")
        interpreter.close()
    print(turn.steps[1].tool_responses[0].text)  # type: ignore[union-attr]
    print(turn.text)


if __name__ == "__main__":
    main()
