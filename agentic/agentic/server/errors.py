"""Errors as answers: a status, and a body in the form of the API that was asked."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match

from ..types.content import storable
from ..types.errors import AgenticError
from .failures import message_of, status_of
from .openai import failures as openai


class Problem(BaseModel):
    """What is wrong: `detail` in Llama Stack's API, `error` in OpenAI's and where a body does not fit its schema."""

    detail: str | None = None
    error: dict[str, Any] | None = None


DOCUMENTED: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "The request cannot be answered"},
    "5XX": {"model": Problem, "description": "The model's server, the store or this server failed"},
}
"""The answers that any route may give besides its own."""


def is_openai(request: Request) -> bool:
    """Whether the route that was asked speaks OpenAI's API."""
    return ".openai." in getattr(request.scope.get("endpoint"), "__module__", "")


def answer(request: Request, status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error's answer, in the form of the API that was asked."""
    message = storable(message)
    body: dict[str, Any] = {"detail": message}
    if is_openai(request):
        kind = "invalid_request_error" if status < 500 else "server_error"
        body = {"error": {"message": message, "type": kind, "param": None, "code": None}}
    return JSONResponse(body, status, headers)


def install(app: FastAPI) -> None:
    """Registers the handlers."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(AgenticError, _failed)


async def _failed(request: Request, error: Exception) -> JSONResponse:
    wait = getattr(error, "retry_after", None)
    if is_openai(request):
        headers = {"retry-after": f"{wait:.0f}"} if wait else None
        return JSONResponse(openai.body_of(error), openai.status_of(error), headers)
    return answer(request, status_of(error), message_of(error), {"retry-after": f"{wait:.0f}"} if wait else None)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for this class
    headers, message = dict(error.headers or {}), str(error.detail)
    if error.status_code == 405:
        headers = {"allow": ", ".join(_allowed(request))}
    if error.status_code == 404:  # what is not there is a `NotFound`: this is a path without a route
        asked = f"{request.method} {request.url.path[:200]}"
        message = f"This server has no {asked}. GET /v1/inspect/routes lists what it has."
    return answer(request, error.status_code, message, headers)


def _allowed(request: Request) -> list[str]:
    """The methods of a path, whose routes each know their own only."""
    scope, routes = request.scope, request.app.router.routes
    return [
        method
        for method in ("GET", "POST", "PUT", "DELETE")
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ]


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """A body that does not fit: status 400 and one entry a field, as Llama Stack has it."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    found = [{"loc": storable(list(item["loc"])), "msg": item["msg"], "type": item["type"]} for item in error.errors()]
    if is_openai(request):
        where = ".".join(str(part) for part in found[0]["loc"] if part != "body")
        text = f"{where}: {found[0]['msg']}" if where else str(found[0]["msg"])
        kind = {"message": text, "type": "invalid_request_error", "param": where or None, "code": None}
        return JSONResponse({"error": kind}, 400)
    return JSONResponse({"error": {"detail": {"errors": found}}}, 400)
