"""Brave's web search, `GET /res/v1/web/search`, as its API reference documents it."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .base import Answer, Request, Server, Status

RESULTS = [
    {
        "title": "Weather in <strong>Lisbon</strong>",
        "url": "https://weather.example.org/lisbon",
        "description": "<strong>Lisbon</strong>: 21 &deg;C &amp; sunny.",
        "extra_snippets": ["Tomorrow it will be 19 &deg;C."],
        "age": "November 20, 2026",
        "page_age": "2026-11-20T00:00:00",
    },
    {"title": "Lisbon", "url": "https://en.example.org/wiki/Lisbon", "description": "The capital of Portugal."},
]


def failure(status: int, code: str, detail: str) -> dict[str, Any]:
    return {"type": "ErrorResponse", "error": {"id": "5d832250", "status": status, "code": code, "detail": detail}}


def limited(remaining: str, reset: str) -> Status:
    """A request too many: `remaining` and `reset` are those of the second and of the month."""
    headers = {"x-ratelimit-limit": "1, 2000", "x-ratelimit-remaining": remaining, "x-ratelimit-reset": reset}
    return Status(429, failure(429, "RATE_LIMITED", "Request rate limit exceeded for plan."), headers)


def _allowed(query: str) -> bool:
    return 1 <= len(query) <= 400 and len(query.split()) <= 50


class BraveServer(Server):
    """Answers with `results`; a wrong key is a 422, as in the real service."""

    def __init__(self, key: str = "brave-secret-key", results: Any = RESULTS) -> None:
        super().__init__()
        self.key = key
        self.results = results

    def query(self, number: int = 0) -> dict[str, str]:
        """The parameters of a request."""
        return dict(parse_qsl(urlsplit(self.requests[number].path).query))

    async def answer(self, request: Request, answer: Answer) -> None:
        parameters = dict(parse_qsl(urlsplit(request.path).query))
        sent = request.headers.get("x-subscription-token", "")
        if request.method != "GET" or urlsplit(request.path).path != "/res/v1/web/search":
            await answer.json(404, failure(404, "NOT_FOUND", "No such resource."))
        elif sent != self.key:
            detail = f"The provided subscription token is invalid: {sent}"
            await answer.json(422, failure(422, "SUBSCRIPTION_TOKEN_INVALID", detail))
        elif not _allowed(parameters.get("q", "")) or not 1 <= int(parameters.get("count", 20)) <= 20:
            await answer.json(422, failure(422, "VALIDATION", "Unable to validate request parameter(s)"))
        else:
            found = {"type": "search", "query": {"original": parameters["q"], "more_results_available": False}}
            await answer.json(200, found | {"web": {"type": "search", "results": self.results}})
