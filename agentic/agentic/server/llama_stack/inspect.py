"""What the server is: health, version, routes and providers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from ...types.errors import NotFound
from ..services import Services, Use
from .answers import Health, Provider, Providers, Routes, Version

router = APIRouter(tags=["inspect"])

VERSION = "0.2.12"
"""The version of the API that is spoken, which clients compare with their own."""

_OK = {"status": "OK"}


@router.get("/v1/health", response_model=Health)
async def health() -> Any:
    """Whether the server can be asked."""
    return _OK


@router.get("/v1/version", response_model=Version)
async def version() -> Any:
    """The API's version."""
    return {"version": VERSION}


@router.get("/v1/inspect/routes", response_model=Routes)
async def routes(request: Request) -> Any:
    """All routes."""
    found = [
        {"route": path, "method": method.upper(), "provider_types": []}
        for path, methods in request.app.openapi()["paths"].items()
        for method in methods
    ]
    return {"data": found}


@router.get("/v1/providers", response_model=Providers)
async def providers(services: Use) -> Any:
    """What is behind the APIs."""
    return {"data": await _providers(services)}


@router.get("/v1/providers/{provider_id}", response_model=Provider)
async def provider(provider_id: str, services: Use) -> Any:
    """One provider."""
    listed = await _providers(services)
    for found in listed:
        if found["provider_id"] == provider_id:
            return found
    known = ", ".join(item["provider_id"] for item in listed)
    raise NotFound(f"Provider {provider_id!r} not found.", hint=f"There are: {known}.")


def _kind(provider_id: str) -> str:
    """A model provider's type: one runs in this process, all others elsewhere."""
    return f"{'inline' if provider_id == 'local' else 'remote'}::{provider_id}"


async def _providers(services: Services) -> list[dict[str, Any]]:
    apis: list[tuple[str, str, str]] = [
        *(("inference", model.provider_id, _kind(model.provider_id)) for model in await services.models.list()),
        ("vector_io", "faiss", "inline::faiss"),  # what a new bank gets
        *(("vector_io", bank.provider_id, f"inline::{bank.provider_id}") for bank in await services.banks.list()),
        *(("safety", shield.provider_id, f"inline::{shield.provider_id}") for shield in await services.shields.list()),
        *(
            ("tool_runtime", group.provider_id, f"inline::{group.provider_id}")
            for group in await services.toolgroups.list()
        ),
        ("agents", "agentic", "inline::agentic"),
        ("files", "localfs", "inline::localfs"),
    ]
    return [
        {"api": api, "provider_id": name, "provider_type": kind, "config": {}, "health": _OK}
        for api, name, kind in dict.fromkeys(apis)
    ]
