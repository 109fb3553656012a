"""Tavily's search, `POST /search`, as its API reference documents it."""

from __future__ import annotations

from typing import Any

from .base import Answer, Request, Server

RESULTS = [
    {
        "title": "Weather in Lisbon &amp; around",
        "url": "https://weather.example.org/lisbon",
        "content": "Lisbon: 21 °C and sunny today. Tomorrow 19 °C.",
        "score": 0.98,
        "raw_content": None,
        "published_date": "2026-11-20",
    },
    {
        "title": "Lisbon",
        "url": "https://en.example.org/wiki/Lisbon",
        "content": "The capital of Portugal.",
        "score": 0.7,
    },
]


class TavilyServer(Server):
    """Answers with `results`; refuses any key but `key`, and echoes it, as careless services do."""

    def __init__(self, key: str = "tvly-secret-key", results: Any = RESULTS) -> None:
        super().__init__()
        self.key = key
        self.results = results

    async def answer(self, request: Request, answer: Answer) -> None:
        sent = request.headers.get("authorization", "")
        if (request.method, request.path) != ("POST", "/search"):
            await answer.json(404, {"detail": "Not Found"})
        elif sent != f"Bearer {self.key}":
            await answer.json(401, {"detail": {"error": f"Unauthorized: missing or invalid API key. ({sent})"}})
        elif not request.json.get("query"):
            await answer.json(400, {"detail": {"error": "Query is missing."}})
        else:
            most = request.json.get("max_results", 5)
            found = self.results[:most] if isinstance(self.results, list) else self.results
            body = {"query": request.json["query"], "answer": None, "images": [], "results": found}
            await answer.json(200, body | {"response_time": 0.9, "request_id": "123e4567-e89b"})
