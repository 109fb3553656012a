"""Shields: `/v1/shields` and `/v1/safety`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from ...judging import ask
from ...types.content import storable
from ...types.errors import InvalidInput
from ..services import Use
from ..shields import Entry
from . import wire
from .answers import ShieldInfo, ShieldList, ShieldVerdict
from .schemas import RunShield, ShieldCreate

router = APIRouter(tags=["safety"])


@router.get("/v1/shields", response_model=ShieldList)
async def list_shields(services: Use) -> Any:
    """All shields."""
    return {"data": [_shield(entry) for entry in await services.shields.list()]}


@router.post("/v1/shields", response_model=ShieldInfo)
async def register_shield(body: ShieldCreate, services: Use) -> Any:
    """Adds a shield; `provider_shield_id` says what is behind it."""
    added = await services.shields.register(body.shield_id, body.provider_shield_id, storable(body.params or {}))
    services.agents.forget()
    return _shield(added)


@router.get("/v1/shields/{identifier:path}", response_model=ShieldInfo)
async def get_shield(identifier: str, services: Use) -> Any:
    """One shield."""
    return _shield(await services.shields.get(identifier))


@router.post("/v1/safety/run-shield", response_model=ShieldVerdict)
async def run_shield(body: RunShield, services: Use) -> Any:
    """Lets a shield judge the last message. A shield that cannot judge follows its `on_error`."""
    chosen = body.shield_id or body.shield_type
    if chosen is None:
        raise InvalidInput("Name a shield: shield_id.")
    shield = await services.shields.shield(chosen)
    messages = [wire.message_in(message.model_dump()) for message in body.messages]
    if not messages:
        raise InvalidInput("messages is empty: there is nothing to judge.")
    return {"violation": wire.violation_out((await ask(shield, messages)).violation)}


def _shield(entry: Entry) -> dict[str, Any]:
    return {
        "identifier": entry.shield_id,
        "provider_resource_id": entry.provider_shield_id,
        "provider_id": entry.provider_id,
        "type": "shield",
        "params": entry.params,
    }
