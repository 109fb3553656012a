"""A PDF becomes a memory bank, and an agent answers from it with the number of the page.

    pip install 'agentic[documents,local]' fpdf2
    python examples/rag_over_pdf.py

It writes a manual of three pages, adds it to a bank twice (the second time nothing is to do), and asks. The model is
scripted, so that this prints the same each time; leave it out and the embedded model answers.

Expected: 1 added, 3 chunks
Expected: 0 added, 0 chunks
Expected: page 2
Expected: Pour in a cup of vinegar, wait for an hour, and rinse [1].
Expected: [1] Manual of the kettle, page 2
"""

from fpdf import FPDF

from agentic import Agent
from agentic.testing import ScriptedModel
from agentic_memory import MemoryBank

PAGES = (
    "First use. Fill the kettle with fresh water up to the line, let it boil, and pour the water away.",
    "Removing limescale. Pour in a cup of vinegar and a cup of water, wait for an hour, and rinse the kettle well.",
    "Warranty. We repair the kettle free of charge for two years. Keep the receipt. The filter is not included.",
)


def write_manual(path: str) -> None:
    pdf = FPDF()
    pdf.set_title("Manual of the kettle")
    pdf.set_font("helvetica", size=12)
    for page in PAGES:
        pdf.add_page()
        pdf.multi_cell(0, text=page)
    pdf.output(path)


write_manual("kettle.pdf")
model = ScriptedModel(["Pour in a cup of vinegar, wait for an hour, and rinse [1]."])

with MemoryBank("manuals", store="manuals.db") as bank, Agent(model, memory=[bank], store=None) as agent:
    # A bar with the rate on a terminal. After Ctrl-C or a crash, the same call goes on where it stopped.
    report = bank.add("kettle.pdf", progress=True)
    print(f"{len(report.added)} added, {report.chunks} chunks")
    report = bank.add("kettle.pdf")
    print(f"{len(report.added)} added, {report.chunks} chunks")

    for hit in bank.query("How do I get rid of limescale?", k=1):
        print(f"page {hit.position['page']} ({hit.score:.2f}): {hit.text}")

    turn = agent.run("How do I get rid of limescale?")
    print(turn.text)
    for citation in turn.citations:
        print(f"[{citation.number}] {citation.hit.title}, page {citation.hit.position['page']}")
