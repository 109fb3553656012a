"""The application: services, routes, errors and the gate in front of them.

How a module of routes plugs in:

* It has a `router`, an `APIRouter` with full paths (`/v1/...`), and its name stands in `ROUTERS`.
* A route asks for the shared objects with a parameter of type `Services` annotated `Use`:

  ```python
  router = APIRouter()

  @router.get("/v1/models")
  async def models(services: Use) -> JSONResponse: ...
  ```
* It raises errors of `agentic.types.errors` only; `errors.py` turns them into answers, in OpenAI's form for routes
  whose module lies in `server/openai/` and in Llama Stack's for all others.
* A stream is an `sse.EventStream`; a turn is driven by `services.turns`, never by the request: the client may go away.
* Bodies are pydantic models that tolerate unknown keys, so that `/openapi.json` says what is true.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from importlib.metadata import version

from fastapi import FastAPI

from ..stack import Stack
from ..threads import run_in_thread
from . import errors
from .access import Keys, token_of
from .gate import LOOPBACK, Gate
from .limits import Limits
from .metrics import Metrics
from .services import Tenants
from .spans import Spans, wanted
from .watch import Watch

ROUTERS = (
    "metrics_route",
    "llama_stack.inspect",
    "llama_stack.models",
    "llama_stack.agents",
    "llama_stack.turns",
    "llama_stack.inference",
    "llama_stack.safety",
    "llama_stack.tools",
    "llama_stack.vector",
    "llama_stack.memory",
    "openai.chat",
    "openai.chat_kept",
    "openai.completions",
    "openai.embeddings",
    "openai.models",
    "openai.files",
    "openai.prompts",
    "openai.responses",
    "openai.conversations",
    "openai.vector_stores",
    "openai.vector_files",
)
"""Modules of this package that each have a `router`, in the order in which their paths are tried."""

_LAST_SPANS_SECONDS = 5


def create_app(stack: Stack | None = None) -> FastAPI:
    """Makes the application.

    Args:
        stack: What it serves; default: what the environment offers.

    Returns:
        An ASGI application; its `state.services` holds what the operator's routes share, `state.tenants`
        what everybody's do. It takes requests once its lifespan has
        begun, and ends the running turns when that ends.

    Raises:
        ConfigError: The stack's configuration cannot be used.
    """
    stack = stack or Stack()
    settings = stack.config.server
    watch = Watch(Metrics(), Spans.sent(settings.traces) if wanted(settings.traces) else None)
    tenants = Tenants(stack, watch)
    services = tenants.of("")
    keys = Keys(services.documents, token_of(settings), demanded=settings.host not in LOOPBACK)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            await services.ready()
            yield
        finally:
            await tenants.aclose()
            if watch.spans is not None:
                with suppress(TimeoutError):  # the collector may be gone
                    await asyncio.wait_for(run_in_thread(watch.spans.close, "agentic-spans"), _LAST_SPANS_SECONDS)

    app = FastAPI(title="agentic", version=version("agentic"), lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.tenants, app.state.services, app.state.watch, app.state.keys = tenants, services, watch, keys
    for name in ROUTERS:
        app.include_router(import_module(f".{name}", __package__).router, responses=errors.DOCUMENTED)
    errors.install(app)
    limits = Limits(settings.rate, settings.concurrency)
    app.add_middleware(Gate, settings=settings, keys=keys, limits=limits, watch=watch)
    return app
