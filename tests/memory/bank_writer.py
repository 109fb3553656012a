"""A process of its own for the tests: adds documents until it is killed. Usage: bank_writer.py FILE FIRST.

Each document has five chunks; when `add_texts` or `add` returned, the names are printed.
"""

from __future__ import annotations

import sys
from itertools import count

from agentic_memory import MemoryBank
from agentic_memory.types import Document
from memory.vectors import Words


def main(file: str, first: int) -> None:
    bank = MemoryBank("docs", store=file, embedding=Words())
    bank.stats()
    print("ready", flush=True)
    for number in count(first):
        parts = "\n\n".join(f"# Part {part}\n\n" + f"word{number} part{part} here. " * 40 for part in range(5))
        report = bank.add(Document(content=parts, id=f"d{number}", mime_type="text/markdown"))
        # An older one is replaced and another removed, so that a kill may come in the midst of those, too.
        bank.add(Document(content=parts + "\n\nmore", id=f"d{number}", mime_type="text/markdown"))
        print(f"d{number} {report.chunks}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
