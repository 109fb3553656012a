"""What one tenant has by OpenAI's API, another one cannot see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from .conftest import Serve, on_loop


def test_one_tenant_sees_nothing_of_another(serve: Serve) -> None:
    _, running = serve(*["Hi."] * 3, kept=True)
    keys = running.server.config.app.state.keys  # type: ignore[union-attr] # it is the application, not its name

    def client_of(tenant: str) -> OpenAI:
        _, text = on_loop(running, lambda: keys.add(tenant=tenant))
        return OpenAI(base_url=f"{running.url}/v1", api_key=text, max_retries=0, timeout=20)

    with client_of("one") as mine, client_of("two") as other:
        response = mine.responses.create(model="m", input="Hello")
        conversation = mine.conversations.create()
        file = mine.files.create(file=("a.txt", b"x"), purpose="user_data")
        mine.post("/prompts", body={"prompt": "Be mine.", "prompt_id": "p"}, cast_to=httpx.Response)
        assert mine.files.content(file.id).content == b"x"
        hidden: list[Callable[[], Any]] = [
            lambda: other.responses.retrieve(response.id),
            lambda: other.responses.retrieve(response.id, stream=True),
            lambda: other.responses.delete(response.id),
            lambda: other.responses.cancel(response.id),
            lambda: other.responses.input_items.list(response.id),
            lambda: other.responses.create(model="m", input="x", previous_response_id=response.id),
            lambda: other.responses.create(model="m", input="x", conversation=conversation.id),
            lambda: other.responses.create(model="m", input="x", prompt={"id": "p"}),
            lambda: other.conversations.items.list(conversation.id),
            lambda: other.files.content(file.id),
            lambda: other.files.delete(file.id),
            lambda: other.get("/prompts/p", cast_to=httpx.Response),
        ]
        for look in hidden:
            with pytest.raises(openai.NotFoundError):
                look()
        assert not list(other.files.list())
        assert mine.responses.retrieve(response.id).output_text == "Hi."
