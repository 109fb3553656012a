"""What banks remember, as rows of a database: the truth, from which everything else can be made anew.

A bank is a row of `agentic_banks`, and has a kind (`vector`, `keyword`, …). Its documents and their chunks are numbered
from the bank's own counter, never twice, and a document's chunks follow each other: so a bank and a document are each
one range of numbers, and whoever knows the last number seen finds what is new.

::

    rows = Rows("agent.db", "notes", kind="keyword")
    await rows.write(lambda tx: put(tx, [Entry(name="d1", hash=b"…", chunks=[Chunk(text="…")])]))
    await rows.read(lambda tx: lexical(tx, "what the user said", k=5))      # [(chunk number, score)]
    await rows.read(lambda tx: fetch(tx, [number]))                         # {number: Row}
    await rows.aclose()

A function given to `read` sees one moment; one given to `write` happens whole or not at all. Both run in a thread.
"""

from .access import Bank, Rows, Tx, banks, span
from .documents import Change, Entry, Known, Row, drop, fetch, known, put, remove, remove_all
from .filters import Filter, compile_filter, matching
from .lexical import lexical, words_of

__all__ = [
    "Bank",
    "Change",
    "Entry",
    "Filter",
    "Known",
    "Row",
    "Rows",
    "Tx",
    "banks",
    "compile_filter",
    "drop",
    "fetch",
    "known",
    "lexical",
    "matching",
    "put",
    "remove",
    "remove_all",
    "span",
    "words_of",
]
