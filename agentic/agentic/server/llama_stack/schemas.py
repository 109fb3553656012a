"""What clients send and get, field by field, as Llama Stack 0.2.12 describes it. Unknown keys are tolerated."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from ...llama.intake import tool_of
from ...types.sampling import SamplingParams as EngineSampling
from ...types.tools import ToolDef as EngineToolDef


class Schema(BaseModel):
    """Something on the wire."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


# -- content and messages ---------------------------------------------------------------------------------------------


class URL(Schema):
    """An address."""

    uri: str


class ImageSource(Schema):
    """An image: an address, or its bytes in base64."""

    url: URL | None = None
    data: str | None = None


class TextItem(Schema):
    """Text."""

    type: Literal["text"] = "text"
    text: str


class ImageItem(Schema):
    """An image."""

    type: Literal["image"] = "image"
    image: ImageSource


Item: TypeAlias = Annotated[TextItem | ImageItem, Discriminator("type")]


def _shape(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) else "item"


Content: TypeAlias = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[Item], Tag("list")] | Annotated[Item, Tag("item")],
    Discriminator(_shape),
]
"""Text, an item, or items in order."""

Stop: TypeAlias = Literal["end_of_turn", "end_of_message", "out_of_tokens"]


class ToolCall(Schema):
    """A model's call of a tool."""

    call_id: str
    tool_name: str
    arguments: dict[str, Any] | str
    arguments_json: str | None = None


class UserMessage(Schema):
    """What the user says."""

    role: Literal["user"] = "user"
    content: Content
    context: Content | None = None


class SystemMessage(Schema):
    """Instructions."""

    role: Literal["system"] = "system"
    content: Content


class ToolResponseMessage(Schema):
    """A call's result; the role was called `ipython` once."""

    role: Literal["tool", "ipython"] = "tool"
    call_id: str
    tool_name: str | None = None
    content: Content


class CompletionMessage(Schema):
    """What the model says."""

    role: Literal["assistant"] = "assistant"
    content: Content
    stop_reason: Stop = "end_of_turn"
    tool_calls: list[ToolCall] | None = None


Message: TypeAlias = Annotated[
    UserMessage | SystemMessage | ToolResponseMessage | CompletionMessage, Discriminator("role")
]
TurnMessage: TypeAlias = Annotated[UserMessage | ToolResponseMessage, Discriminator("role")]


class ToolResponse(Schema):
    """A call's result, with its tool's name."""

    call_id: str
    tool_name: str = ""
    content: Content
    metadata: dict[str, Any] | None = None


class Document(Schema):
    """Something that is attached to a turn."""

    content: URL | Content
    mime_type: str = "text/plain"


# -- sampling and tools -----------------------------------------------------------------------------------------------


class Greedy(Schema):
    """The likeliest token."""

    type: Literal["greedy"] = "greedy"


class TopP(Schema):
    """One of the likeliest tokens that together have this probability."""

    type: Literal["top_p"] = "top_p"
    temperature: float | None = Field(default=None, gt=0, le=10)
    top_p: float | None = Field(default=0.95, gt=0, le=1)


class TopK(Schema):
    """One of so many likeliest tokens."""

    type: Literal["top_k"] = "top_k"
    top_k: int = Field(ge=1)


class SamplingParams(Schema):
    """How tokens are drawn; `max_tokens` 0 is no limit."""

    strategy: Annotated[Greedy | TopP | TopK, Discriminator("type")] = Greedy()
    max_tokens: int | None = Field(default=0, ge=0)
    repetition_penalty: float | None = Field(default=1.0, gt=0, le=10)
    stop: list[str] | None = None

    def engine(self) -> EngineSampling:
        """The same for the engine."""
        given: dict[str, Any] = {"strategy": self.strategy.type}
        match self.strategy:
            case TopP(temperature=temperature, top_p=top_p):
                given |= {"temperature": temperature or 1.0, "top_p": top_p or 0.95}
            case TopK(top_k=top_k):
                given["top_k"] = top_k
        return EngineSampling(
            **given,
            max_tokens=self.max_tokens or None,
            repetition_penalty=self.repetition_penalty or 1.0,
            stop=tuple(self.stop or ()),
        )


class ToolParameter(Schema):
    """One parameter of a tool."""

    name: str
    parameter_type: str = "string"
    description: str = ""
    required: bool = True
    default: Any = None


class ToolDef(Schema):
    """A tool that the client runs."""

    name: str
    description: str | None = None
    parameters: list[ToolParameter] | None = None
    metadata: dict[str, Any] | None = None

    def engine(self) -> EngineToolDef:
        """The same for the engine."""
        return tool_of(self.model_dump(exclude_none=True))


class ToolParamDefinition(Schema):
    """One parameter of a tool."""

    param_type: str
    description: str | None = None
    required: bool | None = True
    default: Any = None


class ToolDefinition(Schema):
    """A tool that a model may call."""

    tool_name: str
    description: str | None = None
    parameters: dict[str, ToolParamDefinition] | None = None

    def engine(self) -> EngineToolDef:
        """The same for the engine."""
        return tool_of({**self.model_dump(exclude_none=True), "name": self.tool_name})


class ToolConfig(Schema):
    """Whether a model may, must or must not call tools."""

    tool_choice: str | None = "auto"
    tool_prompt_format: Literal["json", "function_tag", "python_list"] | None = None
    system_message_behavior: Literal["append", "replace"] | None = "append"


class ToolgroupWithArgs(Schema):
    """A toolgroup, or one of its tools, with what it is given besides a model's arguments."""

    name: str
    args: dict[str, Any] = {}


AgentTool: TypeAlias = str | ToolgroupWithArgs


class JsonSchemaFormat(Schema):
    """Answers that satisfy a JSON schema."""

    type: Literal["json_schema"] = "json_schema"
    json_schema: dict[str, Any]


class GrammarFormat(Schema):
    """Answers that a grammar allows."""

    type: Literal["grammar"] = "grammar"
    bnf: dict[str, Any]


ResponseFormat: TypeAlias = Annotated[JsonSchemaFormat | GrammarFormat, Discriminator("type")]


# -- agents -----------------------------------------------------------------------------------------------------------


class AgentConfig(Schema):
    """What an agent is made of."""

    sampling_params: SamplingParams = SamplingParams()
    input_shields: list[str] | None = []
    output_shields: list[str] | None = []
    toolgroups: list[AgentTool] | None = []
    client_tools: list[ToolDef] | None = []
    tool_choice: Literal["auto", "required", "none"] | None = None
    tool_prompt_format: Literal["json", "function_tag", "python_list"] | None = None
    tool_config: ToolConfig | None = ToolConfig()
    max_infer_iters: int | None = Field(default=10, ge=1)
    model: str
    instructions: str
    name: str | None = None
    enable_session_persistence: bool | None = False
    response_format: ResponseFormat | None = None


class AgentCreate(Schema):
    """A new agent."""

    agent_config: AgentConfig


class SessionCreate(Schema):
    """A new session."""

    session_name: str


class TurnCreate(Schema):
    """A new turn."""

    messages: list[TurnMessage]
    stream: bool | None = False
    documents: list[Document] | None = None
    toolgroups: list[AgentTool] | None = None
    tool_config: ToolConfig | None = None


class TurnResume(Schema):
    """Results of the calls that a turn waits for."""

    tool_responses: list[ToolResponse]
    stream: bool | None = False


# -- models and inference ---------------------------------------------------------------------------------------------


class ModelCreate(Schema):
    """A model to add."""

    model_id: str = Field(min_length=1)
    provider_model_id: str | None = None
    provider_id: str | None = None
    metadata: dict[str, Any] | None = None
    model_type: Literal["llm", "embedding"] | None = None


class LogProbs(Schema):
    """Of how many tokens at each place the log-probabilities are wanted; providers that know none leave them out."""

    top_k: int | None = Field(default=0, ge=0, le=20)


class _Asked(Schema):
    model_id: str
    sampling_params: SamplingParams | None = None
    response_format: ResponseFormat | None = None
    logprobs: LogProbs | None = None

    @property
    def wanted_logprobs(self) -> int:
        """The same for the engine; the chosen token's own where no number is given."""
        return max(1, self.logprobs.top_k or 0) if self.logprobs else 0


class _Chat(_Asked):
    tools: list[ToolDefinition] | None = None
    tool_config: ToolConfig | None = None


class ChatRequest(_Chat):
    """A conversation to go on with."""

    messages: list[Message]
    tool_choice: Literal["auto", "required", "none"] | None = None
    tool_prompt_format: Literal["json", "function_tag", "python_list"] | None = None
    stream: bool | None = False


class BatchChatRequest(_Chat):
    """Several conversations to go on with."""

    messages_batch: list[list[Message]]


class CompletionRequest(_Asked):
    """A text to go on with."""

    content: Content
    stream: bool | None = False


class BatchCompletionRequest(_Asked):
    """Several texts to go on with."""

    content_batch: list[Content]


class EmbeddingsRequest(Schema):
    """Texts to make vectors of."""

    model_id: str
    contents: list[str] | list[Item]
    text_truncation: Literal["none", "start", "end"] | None = None
    output_dimension: int | None = Field(default=None, ge=1)
    task_type: Literal["query", "document"] | None = None


# -- shields and tools ------------------------------------------------------------------------------------------------


class ShieldCreate(Schema):
    """A shield to add."""

    shield_id: str = Field(min_length=1)
    provider_shield_id: str | None = None
    provider_id: str | None = None
    params: dict[str, Any] | None = None


class RunShield(Schema):
    """Messages of which the last is to be judged; `shield_type` is the name of old."""

    shield_id: str | None = None
    shield_type: str | None = None
    messages: list[Message]
    params: dict[str, Any] | None = None


class ToolgroupCreate(Schema):
    """A toolgroup to add."""

    toolgroup_id: str = Field(min_length=1)
    provider_id: str | None = None
    mcp_endpoint: URL | None = None
    args: dict[str, Any] | None = None


class Invoke(Schema):
    """A tool to run."""

    tool_name: str
    kwargs: dict[str, Any]


# -- memory -----------------------------------------------------------------------------------------------------------


class VectorDBCreate(Schema):
    """A bank to make."""

    vector_db_id: str = Field(min_length=1, max_length=200)
    embedding_model: str
    embedding_dimension: int | None = Field(default=None, ge=1, le=100_000)
    provider_id: str | None = None
    provider_vector_db_id: str | None = None


class Chunk(Schema):
    """A piece of text."""

    content: Content
    metadata: dict[str, Any] = {}
    embedding: list[float] | None = None


class ChunksInsert(Schema):
    """Chunks to add."""

    vector_db_id: str
    chunks: list[Chunk]
    ttl_seconds: int | None = None


class ChunkQuery(Schema):
    """What to search for; `params` may hold `max_chunks` and `score_threshold`."""

    vector_db_id: str
    query: Content
    params: dict[str, Any] | None = None


class RAGDocument(Schema):
    """A document to remember."""

    document_id: str = Field(min_length=1, max_length=200)
    content: URL | Content
    mime_type: str | None = None
    metadata: dict[str, Any] = {}


class RAGInsert(Schema):
    """Documents to add."""

    documents: list[RAGDocument]
    vector_db_id: str
    chunk_size_in_tokens: int = 512


class RAGQueryConfig(Schema):
    """How to search, and how to write what was found."""

    query_generator_config: dict[str, Any] | None = None
    max_tokens_in_context: int = Field(default=4096, ge=1)
    max_chunks: int = Field(default=5, ge=1, le=1000)
    chunk_template: str = "Result {index}\nContent: {chunk.content}\nMetadata: {metadata}\n"
    mode: str | None = None
    ranker: dict[str, Any] | None = None


class RAGQuery(Schema):
    """What to search for."""

    content: Content
    vector_db_ids: list[str]
    query_config: RAGQueryConfig = RAGQueryConfig()
