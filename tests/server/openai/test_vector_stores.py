"""`vector_stores` over memory banks, and `file_search` in responses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from agentic.testing import ScriptedModel
from agentic.types.tools import ToolCall
from agentic_memory import KeywordBank
from servers.openai import OpenAIServer

from .conftest import Serve

MODELS = {"e": {"model": "openai/e", "type": "embedding", "metadata": {"embedding_dimension": 2}}}


@pytest.fixture
def bank() -> Iterator[KeywordBank]:
    with KeywordBank("docs", store=None) as opened:
        yield opened


def upload(client: OpenAI, name: str, text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    return client.files.create(file=(name, data), purpose="assistants").id


def test_a_store_is_made_filled_searched_and_deleted(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenAIServer() as embedder:
        monkeypatch.setenv("OPENAI_BASE_URL", embedder.url)
        client, _ = serve(config={"models": MODELS}, kept=True)
        file_id = upload(client, "llamas.txt", "Llamas spit when they are annoyed.")
        made = client.vector_stores.create(
            name="Animals", file_ids=[file_id], metadata={"a": "b"}, extra_body={"embedding_model": "e"}
        )
        assert (made.name, made.metadata, made.file_counts.completed) == ("Animals", {"a": "b"}, 1)
        found = client.vector_stores.search(made.id, query="Why do llamas spit?")
        assert [(hit.file_id, hit.filename) for hit in found] == [(file_id, "llamas.txt")]
        assert "annoyed" in found.data[0].content[0].text
        assert client.vector_stores.update(made.id, name="Beasts").name == "Beasts"
        assert made.id in [store.id for store in client.vector_stores.list()]
        assert client.vector_stores.delete(made.id).deleted
        with pytest.raises(openai.NotFoundError):
            client.vector_stores.retrieve(made.id)
        assert client.files.retrieve(file_id).id == file_id, "the file itself stays"


def test_files_come_and_go(serve: Serve, bank: KeywordBank) -> None:
    client, _ = serve(banks={"docs": bank})
    first, second = upload(client, "a.md", "# Alpacas\n\nAlpacas hum."), upload(client, "b.md", "Bees buzz.")
    added = client.vector_stores.files.create_and_poll(vector_store_id="docs", file_id=first, attributes={"year": 2024})
    assert (added.status, added.attributes) == ("completed", {"year": 2024})
    client.vector_stores.files.create(vector_store_id="docs", file_id=second, attributes={"year": 1999})
    assert [one.id for one in client.vector_stores.files.list("docs", order="asc", limit=1)] == [first, second]
    query: Any = ["alpacas", "bees"]
    assert len(client.vector_stores.search("docs", query=query).data) == 2
    newer: Any = {"type": "and", "filters": [{"type": "gte", "key": "year", "value": 2000}]}
    kept = client.vector_stores.search("docs", query=query, filters=newer).data
    assert [(hit.file_id, hit.attributes) for hit in kept] == [(first, {"year": 2024})]
    client.vector_stores.files.update(second, vector_store_id="docs", attributes={"year": 2025})
    assert len(client.vector_stores.search("docs", query=query, filters=newer).data) == 2
    assert client.vector_stores.files.content(second, vector_store_id="docs").data[0].text == "Bees buzz."
    client.vector_stores.files.delete(first, vector_store_id="docs")
    assert [hit.file_id for hit in client.vector_stores.search("docs", query=query)] == [second]
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.files.retrieve(first, vector_store_id="docs")


def test_a_batch_of_files_with_one_that_cannot_be_read(serve: Serve, bank: KeywordBank) -> None:
    client, _ = serve(banks={"docs": bank})
    files = [upload(client, "a.txt", "Ants."), upload(client, "b.bin", b"\x00\x9f\x92\x96" * 50)]
    batch = client.vector_stores.file_batches.create_and_poll("docs", file_ids=files)
    assert (batch.file_counts.completed, batch.file_counts.failed) == (1, 1)
    failed = client.vector_stores.files.retrieve(files[1], vector_store_id="docs")
    assert failed.status == "failed"
    assert failed.last_error
    assert failed.last_error.message
    listed = client.vector_stores.file_batches.list_files(batch.id, vector_store_id="docs")
    assert [one.id for one in listed] == files


def test_a_pdf_is_read(serve: Serve, bank: KeywordBank) -> None:
    fpdf = pytest.importorskip("fpdf")
    pytest.importorskip("pypdfium2")
    pdf = fpdf.FPDF()
    pdf.add_page()
    pdf.set_font("Helvetica")
    pdf.cell(text="Cormorants dive.")
    client, _ = serve(banks={"docs": bank})
    file_id = upload(client, "birds.pdf", bytes(pdf.output()))
    added = client.vector_stores.files.create(vector_store_id="docs", file_id=file_id, attributes={"a": "b"})
    assert (added.status, added.last_error) == ("completed", None)
    (hit,) = client.vector_stores.search("docs", query="cormorants").data
    assert (hit.file_id, hit.filename, (hit.attributes or {})["a"]) == (file_id, "birds.pdf", "b")
    client.vector_stores.files.delete(file_id, vector_store_id="docs")
    assert not client.vector_stores.search("docs", query="cormorants").data


def test_a_response_searches_files(serve: Serve, bank: KeywordBank) -> None:
    model = ScriptedModel([ToolCall("knowledge_search", {"query": "llamas spit"}, "call_1"), "When annoyed."])
    client, _ = serve(model=model, banks={"docs": bank})
    file_id = upload(client, "llamas.txt", "Llamas spit when they are annoyed.")
    client.vector_stores.files.create(vector_store_id="docs", file_id=file_id)
    answer = client.responses.create(
        model="m",
        input="Why?",
        tools=[{"type": "file_search", "vector_store_ids": ["docs"]}],
        include=["file_search_call.results"],
    )
    item = answer.output[0]
    assert item.type == "file_search_call"
    assert (item.queries, item.status) == (["llamas spit"], "completed")
    assert item.results
    assert item.results[0].file_id == file_id
    assert "annoyed" in (item.results[0].text or "")
    assert "annoyed" in model.requests[1].messages[-1].text
    assert answer.output_text == "When annoyed."


REFUSED: list[tuple[str, dict[str, Any], int]] = [
    ("/vector_stores/nobody/search", {"query": "x"}, 404),
    ("/vector_stores/docs/search", {"query": " "}, 400),
    ("/vector_stores/docs/search", {"query": "x", "filters": {"type": "like"}}, 400),
    ("/vector_stores/docs/search", {"query": "x", "filters": {"type": "and", "filters": []}}, 400),
    ("/vector_stores/docs/files", {"file_id": "file-x"}, 404),
    ("/vector_stores/docs/file_batches", {}, 400),
    ("/vector_stores", {"file_ids": ["file-x"]}, 404),
    ("/vector_stores", {"expires_after": {"anchor": "last_active_at", "days": 1}}, 400),
]


def test_what_cannot_be_done_is_refused(serve: Serve, bank: KeywordBank) -> None:
    client, _ = serve(banks={"docs": bank})
    for path, body, status in REFUSED:
        with pytest.raises(openai.APIStatusError) as caught:
            client.post(path, body=body, cast_to=object)
        assert caught.value.status_code == status, (path, body)
