"""`/metrics`: what Prometheus reads."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from .watch import Watch

router = APIRouter(tags=["operation"])


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> PlainTextResponse:
    """Requests, turns, tokens, tool calls and violations since the server began, in Prometheus's text format."""
    watch: Watch = request.app.state.watch
    return PlainTextResponse(watch.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
