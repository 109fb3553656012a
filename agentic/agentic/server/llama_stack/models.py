"""Models: `/v1/models`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from ...types.content import storable
from ...types.errors import InvalidInput
from ..models import Entry
from ..openai.models import fields
from ..services import Use
from .answers import ModelInfo, ModelList
from .schemas import ModelCreate

router = APIRouter(tags=["models"])


@router.get("/v1/models", response_model=ModelList)
async def list_models(services: Use) -> Any:
    """All models."""
    return {"data": [_model(entry) for entry in await services.models.list()]}


@router.post("/v1/models", response_model=ModelInfo)
async def register_model(body: ModelCreate, services: Use) -> Any:
    """Adds a model of a provider; without `provider_id` its id begins with the provider's name."""
    name = body.provider_model_id or body.model_id
    provider = body.provider_id
    if provider is None:
        provider, slash, rest = name.partition("/")
        if not slash:
            raise InvalidInput("Name the provider: provider_id, or a provider_model_id such as ollama/llama3.2:3b.")
        name = rest
    entry = Entry(body.model_id, provider, name, body.model_type or "llm", storable(body.metadata or {}))
    added = await services.models.register(entry)
    services.agents.forget()
    return _model(added)


@router.get("/v1/models/{model_id:path}", response_model=ModelInfo)
async def get_model(model_id: str, services: Use) -> Any:
    """One model."""
    return _model(await services.models.get(model_id))


@router.delete("/v1/models/{model_id:path}")
async def unregister_model(model_id: str, services: Use) -> None:
    """Removes a model that was added."""
    await services.models.unregister(model_id)
    services.agents.forget()


def _model(entry: Entry) -> dict[str, Any]:
    return {
        "identifier": entry.model_id,
        "provider_resource_id": entry.provider_model_id,
        "provider_id": entry.provider_id,
        "type": "model",
        "metadata": entry.metadata,
        "model_type": entry.kind,
        **fields(entry),
    }
