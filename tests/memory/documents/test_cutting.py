from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic.types.errors import InvalidInput
from agentic_memory.documents import chunks
from agentic_memory.documents.cutting import estimate
from agentic_memory.documents.formats import read
from agentic_memory.types import Block, Document, Parsed


def parsed(text: str, mime_type: str = "text/markdown") -> Parsed:
    return read(Document(content=text), mime_type)


def spans(document: Parsed, size: int = 256, overlap: int = 32) -> list[str]:
    return [document.text[c.position["start"] : c.position["end"]] for c in chunks(document, size, overlap)]


WORDS = st.text("abc ÄßéЖ漢字。.!? \n\t#|-`~=>\"')😀_1", max_size=400)


@settings(max_examples=150, deadline=None)
@given(
    text=WORDS,
    kind=st.sampled_from(["text/plain", "text/markdown", "text/x-source"]),
    size=st.integers(8, 40),
    overlap=st.integers(0, 4),
)
def test_every_character_is_covered_and_every_span_is_right(text: str, kind: str, size: int, overlap: int) -> None:
    try:
        document = parsed(text, kind)
    except InvalidInput:
        assert not text.strip()
        return
    covered: set[int] = set()
    last = -1
    for chunk in chunks(document, size, overlap):
        start, end = chunk.position["start"], chunk.position["end"]
        assert 0 <= start < end <= len(document.text)
        assert start > last, "chunks advance"
        last = start
        piece = document.text[start:end]
        assert piece == piece.strip()
        assert chunk.text.endswith(piece)
        assert estimate(chunk.text) <= size
        if "headings" not in chunk.position:
            assert chunk.text == piece
        covered.update(range(start, end))
    missing = [index for index, sign in enumerate(document.text) if not sign.isspace() and index not in covered]
    assert not missing


@pytest.mark.parametrize(
    "text",
    [
        "x" * 1_000_000,
        " " * 500_000 + "a" + " " * 500_000 + "b",
        "." * 1_000_000,
        "漢" * 300_000,
        "word " * 200_000,
        "\n".join(["a"] * 300_000),
        '."' * 500_000,
        "# a\n" * 50_000,
        "`" * 1_000_000,
        "a\nb\n" + "===\n" * 200_000,
        "|-" * 500_000,
        "# " + "#" * 1_000_000,
    ],
    ids=[
        "letters",
        "spaces",
        "stops",
        "han",
        "words",
        "lines",
        "quotes",
        "headings",
        "ticks",
        "underlines",
        "rules",
        "signs",
    ],
)
def test_hostile_text_takes_linear_time(text: str) -> None:
    counted = 0

    def count(piece: str) -> int:
        nonlocal counted
        counted += len(piece)
        return len(piece) // 4 + 1

    began = time.process_time()
    found = chunks(parsed(text), count=count)
    assert counted < 8 * len(text) + 10_000
    assert all(len(chunk.text) < 3000 for chunk in found)
    assert time.process_time() - began < 10  # a machine ten times slower than this one; a square would take hours


def test_sections_have_their_headings_and_are_not_mixed() -> None:
    document = parsed("# Kettle\n\nBoils.\n\n## Safety\n\nHot!\n\n### Children\n\nNo.\n\n## Cleaning\n\nVinegar.")
    found = [(chunk.text, chunk.position["headings"]) for chunk in chunks(document)]
    assert found == [
        ("# Kettle\n\nBoils.", ["Kettle"]),
        ("## Safety\n\nHot!", ["Kettle", "Safety"]),
        ("### Children\n\nNo.", ["Kettle", "Safety", "Children"]),
        ("## Cleaning\n\nVinegar.", ["Kettle", "Cleaning"]),
    ]
    assert document.title == "Kettle"


def test_a_heading_is_repeated_in_what_follows_it() -> None:
    text = "# Kettle\n\n## Care\n\n" + " ".join(f"Sentence number {number} is here." for number in range(40))
    first, *rest = chunks(parsed(text), size=60, overlap=10)
    assert first.text.startswith("# Kettle\n\n## Care\n\nSentence number 0")
    assert rest
    assert all(chunk.text.startswith("Kettle > Care\n\nSentence") for chunk in rest)


def test_a_heading_without_end_is_not_kept_with_each_chunk() -> None:
    text = "# " + "x" * 50_000
    heading = Block(text=text, kind="heading")
    found = chunks(Parsed(text=text, blocks=(heading,)))
    assert sum(len(str(chunk.position)) for chunk in found) < 3 * len(text)


def test_neighbours_share_whole_sentences() -> None:
    text = " ".join(f"This is the sentence {number}." for number in range(60))
    found = spans(parsed(text, "text/plain"), size=40, overlap=15)
    for left, right in pairwise(found):
        shared = right[: right.index(".") + 1]
        assert left.endswith(shared) or shared in left
    assert spans(parsed(text, "text/plain"), 40, 0)[1].startswith("This is")


def test_listings_and_tables_stay_whole_where_they_fit() -> None:
    code = "```python\n" + "\n".join(f"line_{number} = {number}. # and so on." for number in range(8)) + "\n```"
    table = "| a | b |\n|---|---|\n" + "\n".join(f"| {number} | x. y. |" for number in range(8))
    prose = "Some words of prose. " * 12
    document = parsed(f"{prose}\n\n{code}\n\n{prose}\n\n{table}\n")
    assert {block.kind for block in document.blocks} == {"text", "code", "table"}
    found = [chunk.text for chunk in chunks(document, size=110, overlap=10)]
    assert any(code in text for text in found)
    assert any(table in text for text in found)


def test_a_listing_that_does_not_fit_is_cut_between_lines() -> None:
    lines = [f"    total += value_{number}  # step. {number}" for number in range(100)]
    document = parsed("def add():\n" + "\n".join(lines), "text/x-source")
    found = chunks(document, size=80)
    assert all(chunk.text.startswith("def add():") for chunk in found)
    kept = [line.strip() for text in spans(document, 80) for line in text.split("\n")]
    assert kept == ["def add():", *(line.strip() for line in lines)]


def test_source_is_kept_by_definition() -> None:
    text = (
        'import os\n\n\ndef first(a):\n    """Doc."""\n\n    return a\n\n\n@cached\nclass Second:\n    x = 1\n\n'
        "    def method(self):\n        pass\n"
    )
    blocks = [block.text for block in parsed(text, "text/x-source").blocks]
    assert blocks[0] == "import os"
    assert blocks[1].startswith("def first")
    assert blocks[1].endswith("return a")
    assert blocks[2].startswith("@cached\nclass Second")
    assert blocks[2].endswith("pass")


def test_pages_are_not_mixed() -> None:
    text = "One page.\n\nAnother page."
    document = Parsed(
        text=text, blocks=(Block(text="One page.", page=1), Block(text="Another page.", page=2, start=11))
    )
    assert [(chunk.text, chunk.position) for chunk in chunks(document)] == [
        ("One page.", {"start": 0, "end": 9, "page": 1}),
        ("Another page.", {"start": 11, "end": 24, "page": 2}),
    ]


def test_a_counter_may_be_given() -> None:
    text = " ".join(["word"] * 100)
    found = chunks(parsed(text, "text/plain"), size=10, overlap=0, count=lambda piece: len(piece.split()))
    assert all(len(chunk.text.split()) <= 10 for chunk in found)
    assert len(found) <= 20


@pytest.mark.parametrize(("size", "overlap"), [(7, 0), (100, 51), (100, -1)])
def test_odd_sizes_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(InvalidInput, match="size of at least 8"):
        chunks(parsed("a"), size, overlap)


def test_a_document_without_blocks_has_no_chunks() -> None:
    assert chunks(Parsed(text="", blocks=())) == []
