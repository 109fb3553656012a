"""The OpenAI routes by the unmodified `llama-stack-client`, which has them under `/v1/openai/v1`."""

from __future__ import annotations

from typing import Any

from llama_stack_client import LlamaStackClient

from agentic_memory import KeywordBank

from .conftest import Serve


def test_chat_responses_files_and_vector_stores(serve: Serve) -> None:
    with KeywordBank("docs", store=None) as bank:
        _, running = serve("One.", ["Two", "."], "Three.", ["Fo", "ur."], banks={"docs": bank})
        with LlamaStackClient(base_url=running.url) as client:
            hello: Any = [{"role": "user", "content": "Hello"}]
            answer: Any = client.chat.completions.create(model="m", messages=hello)
            assert answer.choices[0].message.content == "One."
            chunks: Any = client.chat.completions.create(model="m", messages=hello, stream=True)
            assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Two."
            response: Any = client.responses.create(model="m", input="Hello")
            assert response.output[0].content[0].text == "Three."
            assert client.responses.retrieve(response.id).id == response.id
            events: Any = list(client.responses.create(model="m", input="Hello", stream=True))
            assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
            assert "".join(one.delta for one in events if one.type == "response.output_text.delta") == "Four."
            file = client.files.create(file=("a.txt", b"Ants march."), purpose="assistants")
            client.vector_stores.files.create(vector_store_id="docs", file_id=file.id)
            found = client.vector_stores.search("docs", query="ants")
            assert found.data[0].content[0].text == "Ants march."
            assert client.models.list()[0].identifier == "m"
