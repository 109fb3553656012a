"""The engine over HTTP: the Llama Stack 0.2 API and OpenAI's, on FastAPI (extra `server`).

`create_app(stack)` makes the application, `agentic serve` runs it. How a module of routes plugs in is said in
`agentic.server.app`.
"""

from __future__ import annotations

from .app import create_app

__all__ = ["create_app"]
