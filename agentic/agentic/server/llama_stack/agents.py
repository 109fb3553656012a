"""Agents and sessions: `/v1/agents`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from ...store.documents import Document
from ..services import Services, Use
from . import wire
from .answers import AgentInfo, Created, Page, SessionCreated, SessionInfo
from .schemas import AgentConfig, AgentCreate, SessionCreate

router = APIRouter(tags=["agents"])

Start = Annotated[int | None, Query(ge=0)]
Limit = Annotated[int | None, Query(ge=1)]


@router.post("/v1/agents", response_model=Created)
async def create_agent(body: AgentCreate, services: Use) -> Any:
    """Makes an agent."""
    return {"agent_id": await services.agents.create(body.agent_config)}


@router.get("/v1/agents", response_model=Page)
async def list_agents(services: Use, start_index: Start = None, limit: Limit = None) -> Any:
    """All agents, the oldest first."""
    return page([_agent(agent) for agent in await services.agents.all()], start_index, limit, "/v1/agents")


@router.get("/v1/agents/{agent_id}", response_model=AgentInfo)
async def get_agent(agent_id: str, services: Use) -> Any:
    """One agent."""
    return JSONResponse(_agent(await services.agents.get(agent_id)))


@router.delete("/v1/agents/{agent_id}")
async def delete_agent(agent_id: str, services: Use) -> None:
    """Removes an agent and its sessions; turns that run in them are cancelled first."""
    for session in await services.agents.sessions(agent_id):
        await _cancel(services, session.name)
    await services.agents.delete(agent_id)


@router.post("/v1/agents/{agent_id}/session", response_model=SessionCreated)
async def create_session(agent_id: str, body: SessionCreate, services: Use) -> Any:
    """Makes a session."""
    return {"session_id": await services.agents.new_session(agent_id, body.session_name)}


@router.get("/v1/agents/{agent_id}/sessions", response_model=Page)
async def list_sessions(agent_id: str, services: Use, start_index: Start = None, limit: Limit = None) -> Any:
    """An agent's sessions, the oldest first, without their turns."""
    found = [_session(session, []) for session in await services.agents.sessions(agent_id)]
    return page(found, start_index, limit, f"/v1/agents/{agent_id}/sessions")


@router.get("/v1/agents/{agent_id}/session/{session_id}", response_model=SessionInfo)
async def get_session(
    agent_id: str, session_id: str, services: Use, turn_ids: Annotated[list[str] | None, Query()] = None
) -> Any:
    """A session with its turns, or with those named."""
    document = await services.agents.session(agent_id, session_id)
    turns = wire.turns_out(await services.agents.turns(agent_id, session_id))
    chosen = [turn for turn in turns if turn_ids is None or turn["turn_id"] in turn_ids]
    return JSONResponse(_session(document, chosen))


@router.delete("/v1/agents/{agent_id}/session/{session_id}")
async def delete_session(agent_id: str, session_id: str, services: Use) -> None:
    """Removes a session; a turn that runs in it is cancelled first."""
    await services.agents.session(agent_id, session_id)
    await _cancel(services, session_id)
    await services.agents.delete_session(agent_id, session_id)


async def _cancel(services: Services, session_id: str) -> None:
    if (live := services.turns.running_in(session_id)) is not None:
        await live.session.acancel()
        await live.ended()


def page(items: list[Any], start: int | None, limit: int | None, url: str) -> dict[str, Any]:
    """A part of a list."""
    first = start or 0
    last = len(items) if limit is None else first + limit
    return {"data": items[first:last], "has_more": last < len(items), "url": url}


def _agent(document: Document) -> dict[str, Any]:
    # Written by this version or an older one: what has since been added gets its default.
    config = AgentConfig.model_validate(document.body).model_dump(mode="json")
    return {"agent_id": document.name, "agent_config": config, "created_at": wire.time_of(document.created_at)}


def _session(document: Document, turns: list[Any]) -> dict[str, Any]:
    return {
        "session_id": document.name,
        "session_name": document.body.get("session_name", ""),
        "turns": turns,
        "started_at": wire.time_of(document.created_at),
    }
