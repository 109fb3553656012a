"""`models`, as OpenAI's API lists them.

Llama Stack has a list of its own at `/v1/models`, in another form. Both forms have their keys apart, so the list there
carries both (`fields` adds OpenAI's), and either client reads its own; only under `/v1/openai/v1` is it OpenAI's alone.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from ..models import Entry
from ..services import Use

router = APIRouter(prefix="/v1/openai/v1", tags=["OpenAI"])


def fields(entry: Entry) -> dict[str, Any]:
    """A model in OpenAI's words."""
    return {"id": entry.model_id, "object": "model", "created": 0, "owned_by": entry.provider_id}


@router.get("/models")
async def list_models(services: Use) -> dict[str, Any]:
    """All models."""
    return {"object": "list", "data": [fields(entry) for entry in await services.models.list()]}


@router.get("/models/{model_id:path}")
async def get_model(model_id: str, services: Use) -> dict[str, Any]:
    """One model."""
    return fields(await services.models.get(model_id))
