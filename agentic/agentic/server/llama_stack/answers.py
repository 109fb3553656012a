"""What clients get, for `/openapi.json`. The routes write it themselves; tests hold the two together."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator

from .schemas import (
    AgentConfig,
    Chunk,
    CompletionMessage,
    Content,
    Schema,
    Stop,
    ToolCall,
    ToolDef,
    ToolParameter,
    ToolResponse,
    TurnMessage,
)


class Created(Schema):
    """A new agent."""

    agent_id: str


class SessionCreated(Schema):
    """A new session."""

    session_id: str


class AgentInfo(Schema):
    """An agent."""

    agent_id: str
    agent_config: AgentConfig
    created_at: str


class Page(Schema):
    """A part of a list."""

    data: list[dict[str, Any]]
    has_more: bool
    url: str | None = None


class Violation(Schema):
    """A shield's objection."""

    violation_level: Literal["info", "warn", "error"]
    user_message: str | None = None
    metadata: dict[str, Any]


class _Step(Schema):
    turn_id: str
    step_id: str
    started_at: str | None = None
    completed_at: str | None = None


class InferenceStep(_Step):
    """The model was asked."""

    step_type: Literal["inference"]
    model_response: CompletionMessage


class ToolExecutionStep(_Step):
    """Calls were carried out."""

    step_type: Literal["tool_execution"]
    tool_calls: list[ToolCall]
    tool_responses: list[ToolResponse]


class ShieldCallStep(_Step):
    """A shield looked at content."""

    step_type: Literal["shield_call"]
    violation: Violation | None = None


class MemoryRetrievalStep(_Step):
    """Memory banks were searched; their ids are separated by commas."""

    step_type: Literal["memory_retrieval"]
    vector_db_ids: str
    inserted_context: Content


Step: TypeAlias = Annotated[
    InferenceStep | ToolExecutionStep | ShieldCallStep | MemoryRetrievalStep, Discriminator("step_type")
]


class Failure(Schema):
    """Why a turn failed."""

    type: str
    message: str


class TurnInfo(Schema):
    """A turn; `completed_at` is missing while it runs, `error` unless it failed."""

    turn_id: str
    session_id: str
    input_messages: list[TurnMessage]
    steps: list[Step]
    output_message: CompletionMessage
    output_attachments: list[dict[str, Any]]
    started_at: str
    completed_at: str | None = None
    error: Failure | None = None


class TurnList(Schema):
    """A session's turns."""

    data: list[TurnInfo]


class StepInfo(Schema):
    """A step."""

    step: Step


class SessionInfo(Schema):
    """A session with its turns."""

    session_id: str
    session_name: str
    turns: list[TurnInfo]
    started_at: str


class Health(Schema):
    """Whether something works."""

    status: Literal["OK", "Error", "Not Implemented"]


class Version(Schema):
    """The API's version."""

    version: str


class Route(Schema):
    """A route."""

    route: str
    method: str
    provider_types: list[str]


class Routes(Schema):
    """All routes."""

    data: list[Route]


class Provider(Schema):
    """What is behind an API."""

    api: str
    provider_id: str
    provider_type: str
    config: dict[str, Any]
    health: dict[str, Any]


class Providers(Schema):
    """All providers."""

    data: list[Provider]


class _Resource(Schema):
    identifier: str
    provider_resource_id: str | None = None
    provider_id: str


class ModelInfo(_Resource):
    """A model; the second half is what OpenAI's clients read."""

    type: Literal["model"]
    metadata: dict[str, Any]
    model_type: Literal["llm", "embedding"]
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Schema):
    """All models."""

    data: list[ModelInfo]
    object: Literal["list"] = "list"


class ShieldInfo(_Resource):
    """A shield."""

    type: Literal["shield"]
    params: dict[str, Any] | None = None


class ShieldList(Schema):
    """All shields."""

    data: list[ShieldInfo]


class ShieldVerdict(Schema):
    """A shield's objection, or none."""

    violation: Violation | None = None


class ToolgroupInfo(_Resource):
    """A toolgroup."""

    type: Literal["tool_group"]
    mcp_endpoint: dict[str, str] | None = None
    args: dict[str, Any] | None = None


class ToolgroupList(Schema):
    """All toolgroups."""

    data: list[ToolgroupInfo]


class ToolInfo(_Resource):
    """A tool."""

    type: Literal["tool"]
    toolgroup_id: str
    description: str
    parameters: list[ToolParameter]
    metadata: dict[str, Any] | None = None


class ToolList(Schema):
    """Tools."""

    data: list[ToolInfo]


class ToolDefList(Schema):
    """Tools as agents see them."""

    data: list[ToolDef]


class Invocation(Schema):
    """What a tool returned; with `error_message` it failed."""

    content: Content | None = None
    error_message: str | None = None
    error_code: int | None = None
    metadata: dict[str, Any] | None = None


class Metric(Schema):
    """A number that was measured."""

    metric: str
    value: float
    unit: str | None = None


class _Measured(Schema):
    metrics: list[Metric] | None = None
    logprobs: list[dict[str, Any]] | None = None


class ChatCompletion(_Measured):
    """What a model said."""

    completion_message: CompletionMessage


class ChatBatch(Schema):
    """What a model said, conversation by conversation."""

    batch: list[ChatCompletion]


class TextCompletion(_Measured):
    """How a model went on."""

    content: str
    stop_reason: Stop


class CompletionBatch(Schema):
    """How a model went on, text by text."""

    batch: list[TextCompletion]


class Embeddings(Schema):
    """A vector for each text."""

    embeddings: list[list[float]]


class VectorDB(_Resource):
    """A bank."""

    type: Literal["vector_db"]
    owner: dict[str, Any] | None = None
    embedding_model: str
    embedding_dimension: int


class VectorDBList(Schema):
    """All banks."""

    data: list[VectorDB]


class Chunks(Schema):
    """Chunks, best first, and how well each fits."""

    chunks: list[Chunk]
    scores: list[float]


class RAGResult(Schema):
    """What was found."""

    content: Content | None = None
    metadata: dict[str, Any]
