from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentic.testing import ScriptedModel
from agentic.types.content import images_of
from agentic.types.errors import ConfigError, InvalidInput
from agentic_memory.documents import Workers, parse
from agentic_memory.types import Document, Parsed
from memory.documents import files

pytestmark = pytest.mark.anyio


def blocks(parsed: Parsed) -> list[tuple[str, str]]:
    for block in parsed.blocks:
        assert parsed.text.startswith(block.text, block.start)
    return [(block.kind, block.text) for block in parsed.blocks]


async def told(workers: Workers, content: str | bytes, name: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        await workers.parse(Document(content=content, source=name))
    assert caught.value.message.startswith(name)
    return str(caught.value)


async def test_short_text_needs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentic_memory.documents.parsing._start", None)
    parsed = await parse(Document(content="One.\n\nTwo.\n", title="Numbers"))
    assert blocks(parsed) == [("text", "One.\n"), ("text", "Two.\n")]
    assert parsed.title == "Numbers"


async def test_pdf_has_pages() -> None:
    content = files.pdf(
        [
            "The kettle boils water in a minute or two and then switches itself off.\nIt is hot.\nMind the lid.",
            "",
            "The lid is blue.",
        ],
        title="Kettle",
    )
    async with Workers(1) as workers:
        parsed = await parse(Document(content=content, source="/x/kettle.pdf"), workers)
        assert parsed.title == "Kettle"
        assert parsed.metadata == {"pages": 3}
        assert [(block.page, block.text) for block in parsed.blocks] == [
            (1, "The kettle boils water in a minute or two and then switches itself off. It is hot."),
            (1, "Mind the lid."),
            (3, "The lid is blue."),
        ]
        long = "The heating element is switched off by a bimetal strip as soon as the water has reached its tempera-\n"
        wrapped = await workers.parse(Document(content=files.pdf([long + "ture and steam comes out of the spout."])))
        assert "its temperature and steam" in wrapped.text
        assert "password" in await told(workers, files.pdf(["x"], password="pw"), "locked.pdf")
        assert "broken" in await told(workers, content[:300], "broken.pdf")
        assert "no text" in await told(workers, files.pdf([""]), "empty.pdf")


async def test_docx_has_headings_and_tables() -> None:
    content = files.docx()
    async with Workers(1) as workers:
        parsed = await parse(Document(content=content), workers)
        assert parsed.title == "The kettle"
        assert [(block.kind, block.text, block.headings) for block in parsed.blocks] == [
            ("heading", "Manual", ()),
            ("text", "It boils water.", ("Manual",)),
            ("heading", "Safety", ("Manual",)),
            ("text", "Keep it away from children.", ("Manual", "Safety")),
            ("table", "part | price\nlid | 4 EUR", ("Manual", "Safety")),
            ("heading", "Cleaning", ("Manual",)),
            ("text", "Use vinegar.", ("Manual", "Cleaning")),
        ]
        assert "no DOCX" in await told(workers, content[:2000], "cut.docx")
        bomb = files.repacked(content, "word/document.xml", b" " * (301 * 1024**2))
        assert "unpacks to more than" in await told(workers, bomb, "bomb.docx")
        laughs = b'<!DOCTYPE a [<!ENTITY a "ha">' + b"".join(
            f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 100}">'.encode() for n in range(8)
        )
        body = b"<w:document xmlns:w='http://schemas.openxmlformats.org/wordprocessingml/2006/main'><w:body><w:p><w:r>"
        laughs += b"]>" + body + b"<w:t>&i;</w:t></w:r></w:p></w:body></w:document>"
        await told(workers, files.repacked(content, "word/document.xml", laughs), "laughs.docx")


async def test_html_keeps_the_main_text() -> None:
    page = (
        "<html><head><title>Storks &amp; chimneys</title></head><body><nav><a href='/'>Home</a></nav><article>"
        "<h1>Storks</h1><p>They return each spring; pairs stay together for many years on their chimney.</p>"
        "<h2>Food</h2><p>Frogs, mice and large insects are what they like to eat in wet meadows.</p>"
        "<script>alert(1)</script></article></body></html>"
    )
    async with Workers(1) as workers:
        parsed = await workers.parse(Document(content=page, mime_type="text/html; charset=utf-8"))
        assert parsed.title == "Storks"
        assert "alert" not in parsed.text
        assert "Home" not in parsed.text
        food = next(block for block in parsed.blocks if block.text.startswith("Frogs"))
        assert food.headings == ("Storks", "Food")
        deep = "<div>" * 100_000 + "text" + "</div>" * 100_000
        try:
            await workers.parse(Document(content=deep, mime_type="text/html"))
        except InvalidInput as error:
            assert "no text" in str(error) or "no HTML" in str(error)  # noqa: PT017 - either is right


async def test_rows_name_their_columns() -> None:
    async with Workers(1) as workers:

        async def lines(content: str | bytes, name: str) -> list[str]:
            return (await workers.parse(Document(content=content, source=name))).text.split("\n\n")

        expected = ["name: Anna; city: Porto, Portugal", "name: Bo"]
        assert await lines('name,city\nAnna,"Porto, Portugal"\nBo,\n', "a.csv") == expected
        assert await lines("name;city\nAnna;Porto, Portugal\n;\nBo\n", "a.csv") == expected
        assert await lines("name\tcity\nAnna\tPorto, Portugal\nBo", "a.tsv") == expected
        rows = [{"name": "Anna", "city": "Porto, Portugal"}, {"name": "Bo", "city": None}]
        assert await lines(json.dumps(rows), "a.json") == expected
        assert await lines("\n".join(map(json.dumps, rows)), "a.jsonl") == expected
        assert await lines('{"a": [1, {"b": 2}], "c": "d"}', "a.json") == ['a: [1, {"b": 2}]', "c: d"]
        assert await lines("name,city", "a.csv") == ["name; city"]
        assert "nested too deeply" in await told(workers, "[" * 200_000, "deep.json")
        assert "line 2 is no JSON" in await told(workers, "1\n{", "a.jsonl")
        assert "no JSON" in await told(workers, "{", "a.json")


@pytest.mark.parametrize(
    "data",
    [
        "Größe — 漢字".encode("utf-8-sig"),
        "Größe — 漢字".encode("utf-16"),
        "Größe — 漢字".encode("utf-32"),
        "Size and more and more".encode("utf-16-le"),
        "Die Größe ist schön, über alle Maße hinaus.".encode("latin-1"),
        b"One\r\nTwo\rThree\n",
    ],
)
async def test_encodings(data: bytes) -> None:
    text = (await parse(Document(content=data, source="a.txt"))).text
    expected = {
        "Größe — 漢字",
        "Size and more and more",
        "Die Größe ist schön, über alle Maße hinaus.",
        "One\nTwo\nThree\n",
    }
    assert text in expected


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (b"", "a.txt", "empty"),
        (b"  \n ", "a.txt", "no text"),
        (os.urandom(3000), "a.bin", "binary"),
        (b"\x7fELF\x02\x01\x01" + bytes(100), "program", "binary"),
        (b"PK\x03\x04" + bytes(100), "a.zip", "binary"),
    ],
    ids=["empty", "blank", "random", "program", "archive"],
)
async def test_what_is_no_text_is_refused(content: bytes, name: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        await parse(Document(content=content, source=name))


async def test_what_no_store_takes_is_replaced() -> None:
    assert (await parse(Document(content="a\ud800b\0c"))).text == "a\ufffdb\ufffdc"


async def test_a_type_that_nobody_reads_is_refused() -> None:
    with pytest.raises(InvalidInput, match="application/zip cannot be read"):
        await parse(Document(content=b"x", mime_type="application/zip"))


async def test_a_slow_document_is_killed_and_the_next_one_is_read() -> None:
    async with Workers(1, seconds=0.001) as workers:
        with pytest.raises(InvalidInput, match="could not be read within"):
            await workers.parse(Document(content=files.pdf(["x"] * 50), source="slow.pdf"))
        workers._seconds = 30
        assert (await workers.parse(Document(content="x,y\n1,2", source="a.csv"))).text == "x: 1; y: 2"


async def test_a_crash_is_told_and_the_next_one_is_read() -> None:
    async with Workers(1) as workers:
        assert (await workers.parse(Document(content="a\n1", source="a.csv"))).text == "a: 1"
        os.kill(workers._idle[0].pid, signal.SIGKILL)
        assert "crashed its parser" in await told(workers, "a\n1", "a.csv")
        assert (await workers.parse(Document(content="a\n1", source="a.csv"))).text == "a: 1"


async def test_a_cancelled_parse_leaves_no_process() -> None:
    async with Workers(2) as workers:
        content = files.pdf(["x"] * 20)
        tasks = [asyncio.ensure_future(workers.parse(Document(content=content))) for _ in range(4)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        assert all(
            isinstance(one, asyncio.CancelledError) for one in await asyncio.gather(*tasks, return_exceptions=True)
        )
        parsed = await workers.parse(Document(content=content))
        assert len(parsed.blocks) == 20


async def test_many_documents_are_read_by_few_processes() -> None:
    async with Workers(2) as workers:
        found = await asyncio.gather(
            *(workers.parse(Document(content=f"a\n{number}", source="a.csv")) for number in range(50))
        )
        assert [one.text for one in found] == [f"a: {number}" for number in range(50)]
        assert len(workers._idle) <= 2


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def runs(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


async def test_parsers_see_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret")
    async with Workers(1) as workers:
        await workers.parse(Document(content="a\n1", source="a.csv"))
        assert b"SOME_API_KEY" not in environment_of(workers._idle[0].pid)


async def test_the_event_loop_is_not_blocked() -> None:
    rows = "a,b\n" + "1,2\n" * 100_000
    async with Workers(1) as workers:
        task = asyncio.ensure_future(workers.parse(Document(content=rows, source="a.csv")))
        ticks = 0
        while not task.done():
            await asyncio.sleep(0.005)
            ticks += 1
        assert ticks > 10
        assert len((await task).blocks) == 100_000


async def test_a_worker_ends_with_its_caller() -> None:
    script = (
        "import asyncio, os\nfrom agentic_memory.documents import Workers\nfrom agentic_memory.types import Document\n"
        "async def main():\n    workers = Workers(1)\n"
        "    await workers.parse(Document(content='a\\n1', source='a.csv'))\n"
        "    print(workers._idle[0].pid, flush=True)\n    os.kill(os.getpid(), 9)\nasyncio.run(main())\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: ASYNC221
    assert done.returncode == -signal.SIGKILL
    for _ in range(500):
        if not runs(int(done.stdout)):
            return
        await asyncio.sleep(0.01)
    pytest.fail("The worker outlives its caller.")


async def test_an_image_is_described_by_a_model() -> None:
    model = ScriptedModel(["A red square."])
    document = Document(content=files.picture("x"), source="/a/square.png")
    parsed = await parse(document, vision=model)
    assert (parsed.text, parsed.title) == ("A red square.", "square.png")
    assert images_of(model.requests[0].messages[0].content)[0].data == document.content
    with pytest.raises(InvalidInput, match="said nothing"):
        await parse(document, vision=ScriptedModel([" "]))


async def test_a_model_that_describes_images_is_shown_nothing_else() -> None:
    model = ScriptedModel([])
    assert (await parse(Document(content="a,b\n1,2", source="a.csv"), vision=model)).text == "a: 1; b: 2"
    assert not model.requests


async def test_a_text_is_not_taken_for_the_file_that_it_is_from() -> None:
    for name in ("manual.pdf", "manual.docx", "page.bmp"):
        assert (await parse(Document(content="What it says.", source=name))).text == "What it says."
    said = Document(content="a,b\n1,2", source="a.csv", mime_type="text/plain")
    assert (await parse(said)).text == "a,b\n1,2"


@pytest.mark.slow
async def test_text_in_images_and_scans_is_recognised() -> None:
    pytest.importorskip("rapidocr")
    async with Workers(1) as workers:
        parsed = await workers.parse(Document(content=files.picture("Serial number 4711"), source="label.png"))
        assert "4711" in parsed.text
        scan = await workers.parse(Document(content=files.scan(["First page 12", "Second page 34"]), source="scan.pdf"))
        assert [(block.page, block.text[-2:]) for block in scan.blocks] == [(1, "12"), (2, "34")]
        assert scan.metadata == {"pages": 2, "recognised": True}
        assert "no image" in await told(workers, b"\x89PNG\r\n\x1a\n" + b"x" * 50, "a.png")


def test_workers_need_sense() -> None:
    for most, seconds in ((0, 1), (1, 0), (1, float("nan"))):
        with pytest.raises(ConfigError):
            Workers(most, seconds=seconds)
