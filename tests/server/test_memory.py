"""Memory banks over HTTP: vector dbs, the RAG tool, and the first generation's memory API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from llama_stack_client import BadRequestError, LlamaStackClient
from llama_stack_client.lib.agents.agent import Agent
from llama_stack_client.types.shared_params.document import Document as RAGDocument

from agentic.config import BankConfig, Config
from agentic.stack import Stack
from agentic.testing import ScriptedModel
from agentic.types.steps import Hit
from agentic.types.tools import ToolCall
from servers.openai import OpenAIServer

from .serving import MODEL, served

TEXTS = {
    "num-0": "Llama 3 uses grouped-query attention instead of multi-head attention.",
    "num-1": "Torchtune fine-tunes models with LoRA in little memory.",
}


@pytest.fixture
def url() -> Iterator[str]:
    with served() as server:
        yield server.url


@pytest.fixture
def bank(url: str) -> str:
    """A bank that needs no model."""
    made = httpx.post(f"{url}/v1/memory_banks", json={"name": "docs", "config": {"type": "keyword"}})
    assert made.json()["bank_id"] == "docs"
    return "docs"


def test_documents_are_inserted_and_found(url: str, bank: str) -> None:
    documents: Any = [
        RAGDocument(document_id=name, content=text, mime_type="text/plain", metadata={"author": "a"})
        for name, text in TEXTS.items()
    ]
    with LlamaStackClient(base_url=url, max_retries=0) as client:
        client.tool_runtime.rag_tool.insert(documents=documents, vector_db_id=bank, chunk_size_in_tokens=64)
        found = client.tool_runtime.rag_tool.query(content="Which attention does Llama use?", vector_db_ids=[bank])
        assert found.metadata["document_ids"] == ["num-0"]
        texts = [part.text for part in found.content]  # type: ignore[union-attr]
        assert texts[1] == (
            f"Result 1\nContent: {TEXTS['num-0']}\nMetadata: {{'author': 'a', 'document_id': 'num-0'}}\n"
        )
        chunks = client.vector_io.query(vector_db_id=bank, query="LoRA")
        assert chunks.chunks[0].content == TEXTS["num-1"]
        assert chunks.chunks[0].metadata["document_id"] == "num-1"
        assert chunks.scores[0] > 0
        assert client.vector_io.query(vector_db_id=bank, query="LoRA", params={"score_threshold": 100}).chunks == []
        nothing = client.tool_runtime.rag_tool.query(content="zebra", vector_db_ids=[bank])
        assert nothing.content is None
        config: Any = {
            "chunk_template": "[{index}] {chunk.content}",
            "max_chunks": 1,
            "max_tokens_in_context": 100,
            "query_generator_config": {"type": "default", "separator": " "},
        }
        short = client.tool_runtime.rag_tool.query(content="LoRA", vector_db_ids=[bank], query_config=config)
        assert short.content[1].text == f"[1] {TEXTS['num-1']}"  # type: ignore[index, union-attr]
        config["chunk_template"] = "{metadata.__class__}"
        with pytest.raises(BadRequestError, match="chunk_template must hold"):
            client.tool_runtime.rag_tool.query(content="LoRA", vector_db_ids=[bank], query_config=config)


def test_chunks_are_inserted_as_they_are(url: str, bank: str) -> None:
    with LlamaStackClient(base_url=url, max_retries=0) as client:
        chunks: Any = [{"content": text, "metadata": {"document_id": "one"}} for text in TEXTS.values()]
        client.vector_io.insert(vector_db_id=bank, chunks=chunks)
        client.vector_io.insert(vector_db_id=bank, chunks=chunks)
        found = client.vector_io.query(vector_db_id=bank, query="attention LoRA").chunks
        assert sorted(str(chunk.content) for chunk in found) == sorted(TEXTS.values())
        assert {chunk.metadata["document_id"] for chunk in found} == {"one"}
        told = client.tool_runtime.rag_tool.query(content="attention LoRA", vector_db_ids=[bank])
        assert told.metadata["document_ids"] == ["one", "one"]
        assert "Metadata: {'document_id': 'one'}" in told.content[1].text  # type: ignore[index, union-attr]


def test_a_bank_is_kept_where_the_sessions_are(tmp_path: Path) -> None:
    named = {"docs": BankConfig(kind="keyword")}
    for store, known in (("one.db", 0), ("two.db", 0), ("one.db", 1)):
        with (
            served(Stack(Config(store=str(tmp_path / store), banks=named))) as server,
            LlamaStackClient(base_url=server.url, max_retries=0) as client,
        ):
            assert len(client.vector_io.query(vector_db_id="docs", query="LoRA").chunks) == known
            client.vector_io.insert(vector_db_id="docs", chunks=[{"content": TEXTS["num-1"], "metadata": {}}])


def test_a_vector_db_is_what_its_model_makes(url: str) -> None:
    with LlamaStackClient(base_url=url, max_retries=0) as client:
        made = client.vector_dbs.register(vector_db_id="v", embedding_model="all-MiniLM-L6-v2", embedding_dimension=5)
        assert made.embedding_dimension == client.vector_dbs.retrieve("v").embedding_dimension == 384
    with (
        served(models={MODEL: ScriptedModel()}) as server,
        LlamaStackClient(base_url=server.url, max_retries=0) as client,
        pytest.raises(BadRequestError, match="makes no embeddings"),
    ):
        client.vector_dbs.register(vector_db_id="v", embedding_model=MODEL)


def test_banks_are_listed_and_dropped(url: str, bank: str) -> None:
    with LlamaStackClient(base_url=url, max_retries=0) as client:
        assert [one.identifier for one in client.vector_dbs.list()] == [bank]
        assert client.vector_dbs.retrieve(bank).provider_id == "keyword"
        client.vector_dbs.unregister(bank)
        assert client.vector_dbs.list() == []
        with pytest.raises(BadRequestError, match="Vector DB 'docs' not found"):
            client.vector_io.query(vector_db_id=bank, query="LoRA")
        with pytest.raises(BadRequestError, match="Model 'no-such' not found"):
            client.vector_dbs.register(vector_db_id="x", embedding_model="no-such")


@pytest.mark.parametrize("prefix", ["", "/alpha", "/v1"])
def test_the_first_generations_memory_api(url: str, prefix: str) -> None:
    with httpx.Client(base_url=f"{url}{prefix}") as client:
        for kind in ("keyword", "keyvalue", "graph"):
            body: Any = {"memory_bank_id": f"bank-{kind}", "params": {"memory_bank_type": kind}}
            assert client.post("/memory-banks/register", json=body).json()["config"] == {"type": kind}
        assert len(client.get("/memory_banks/list").json()["data"]) == 3
        assert client.get("/memory/get", params={"bank_id": "bank-graph"}).json()["memory_bank_type"] == "graph"
        documents = [{"document_id": "d", "content": TEXTS["num-1"], "mime_type": "text/plain"}]
        for kind in ("keyword", "keyvalue"):
            inserted = client.post("/memory/insert", json={"bank_id": f"bank-{kind}", "documents": documents})
            assert inserted.json() is None
        found = client.post("/memory/query", json={"bank_id": "bank-keyword", "query": [1]})
        assert found.status_code == 400
        found = client.post("/memory/query", json={"bank_id": "bank-keyword", "query": "LoRA"})
        listed = client.post("/memory/query", json={"bank_id": "bank-keyword", "query": ["LoRA"]})
        assert listed.json() == found.json()
        (chunk,) = found.json()["chunks"]
        assert (chunk["content"], chunk["document_id"]) == (TEXTS["num-1"], "d")
        assert chunk["token_count"] > 5
        assert client.post("/memory/drop", json={"bank_id": "bank-keyword"}).json() == "bank-keyword"
        assert client.delete("/memory_banks/bank-graph").json() == "bank-graph"
        refused = client.post("/memory_banks", json={"name": "x", "config": {"type": "heap"}})
        assert "vector, keyword, keyvalue or graph" in refused.json()["detail"]


@pytest.mark.slow
def test_a_vector_db_of_the_embedded_model(url: str) -> None:
    with LlamaStackClient(base_url=url, max_retries=0) as client:
        made = client.vector_dbs.register(vector_db_id="v", embedding_model="all-MiniLM-L6-v2", provider_id="faiss")
        assert made.embedding_dimension == 384
        vector: Any = [0.1] * 384
        chunks: Any = [{"content": text, "metadata": {"document_id": name}} for name, text in TEXTS.items()]
        chunks[0]["embedding"] = vector
        client.vector_io.insert(vector_db_id="v", chunks=[*chunks, chunks[0]])
        for mode in ("vector", "hybrid", "keyword"):
            found = client.vector_io.query(vector_db_id="v", query="LoRA memory", params={"mode": mode})
            assert found.chunks[0].metadata["document_id"] == "num-1"
        same = client.vector_io.query(vector_db_id="v", query=TEXTS["num-0"], params={"mode": "vector"})
        assert 0.99 < same.scores[0] <= 1.01  # the recorded server answers 400: its score is infinite
        assert len(same.chunks) == 2
        with pytest.raises(BadRequestError, match="mode is vector, keyword or hybrid"):
            client.vector_io.query(vector_db_id="v", query="x", params={"mode": "sideways"})
        client.vector_dbs.unregister("v")
        client.vector_dbs.register(vector_db_id="v", embedding_model="all-MiniLM-L6-v2")
        assert client.vector_io.query(vector_db_id="v", query="LoRA").chunks == []


class Vectors:
    """What a vector bank finds, without its model."""

    name = "vectors"

    def __init__(self) -> None:
        self.documents: dict[str, tuple[str, Any]] = {}

    async def aadd_text(self, text: str, *, id: str, metadata: Any = None) -> None:
        self.documents[id] = (text, metadata)

    async def aquery(self, query: str, *, k: int = 5) -> list[Hit]:
        hits = [
            Hit(text, float(query.rsplit(maxsplit=1)[-1].lower() in text.lower()), name, metadata=metadata or {})
            for name, (text, metadata) in self.documents.items()
        ]
        return sorted(hits, key=lambda hit: -hit.score)[:k]


def test_an_agent_answers_from_documents() -> None:
    model = ScriptedModel([ToolCall("knowledge_search", {"query": "about LoRA"}, "c"), "With LoRA."])
    with (
        served(models={MODEL: model}, banks={"vectors": Vectors()}) as server,
        LlamaStackClient(base_url=server.url, max_retries=0) as client,
    ):
        documents: Any = [RAGDocument(document_id=name, content=text, metadata={}) for name, text in TEXTS.items()]
        documents[1]["content"] = {"uri": "data:text/plain,Fine-tuned%20with%20LoRA."}
        client.tool_runtime.rag_tool.insert(documents=documents, vector_db_id="vectors", chunk_size_in_tokens=64)
        tool: Any = {"name": "builtin::rag", "args": {"vector_db_ids": ["vectors"]}}
        agent = Agent(client, model=MODEL, instructions="", tools=[tool])
        messages: Any = [{"role": "user", "content": "How?"}]
        turn: Any = agent.create_turn(messages, agent.create_session("s"), stream=False)
        response = turn.steps[1].tool_responses[0]
        assert response.metadata["document_ids"] == ["num-1", "num-0"]
        assert "Fine-tuned with LoRA." in response.content[1].text
    model.assert_complete()


def test_an_address_in_this_network_is_not_fetched(url: str, bank: str) -> None:
    for content in ({"uri": f"{url}/v1/health"}, f"{url}/v1/health"):
        body = {
            "vector_db_id": bank,
            "documents": [{"document_id": "d", "content": content}],
            "chunk_size_in_tokens": 9,
        }
        refused = httpx.post(f"{url}/v1/tool-runtime/rag-tool/insert", json=body)
        assert refused.status_code == 400
        assert "may not be fetched" in refused.json()["detail"]


def test_a_bank_takes_an_embedding_model_of_the_configuration() -> None:
    with OpenAIServer(model="embed", key="k") as models:
        made_by = {"model": "openai/embed", "endpoint": models.url, "api_key": "k", "type": "embedding"}
        config = Config.model_validate({"models": {"my/embedder": made_by}, "store": None})
        with served(Stack(config)) as server, LlamaStackClient(base_url=server.url, max_retries=0) as client:
            client.vector_dbs.register(vector_db_id="docs", embedding_model="my/embedder", embedding_dimension=2)
            client.vector_io.insert(vector_db_id="docs", chunks=[{"content": "Ants march.", "metadata": {}}])
            found = client.vector_io.query(vector_db_id="docs", query="ants", params={"mode": "vector"})
            assert [chunk.content for chunk in found.chunks] == ["Ants march."]
            picture: Any = [{"type": "image", "image": {"url": {"uri": "https://example.org/a.png"}}}]
            with pytest.raises(BadRequestError, match="holds an image"):
                client.inference.embeddings(model_id="my/embedder", contents=picture)
