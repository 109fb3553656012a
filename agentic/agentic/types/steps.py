"""The four kinds of step that a turn is made of, and what each leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

from .content import Content
from .messages import AssistantMessage
from .sampling import Usage
from .tagged import TaggedBy
from .tools import ToolCall, ToolResponse


class StepType(StrEnum):
    """Llama Stack's four kinds of step."""

    INFERENCE = "inference"
    TOOL_EXECUTION = "tool_execution"
    SHIELD_CALL = "shield_call"
    MEMORY_RETRIEVAL = "memory_retrieval"


class Touchpoint(StrEnum):
    """Where in a turn a shield looks."""

    INPUT = "user-input"
    OUTPUT = "assistant-output"
    TOOL_CALL = "tool-call"
    TOOL_RESULT = "tool-result"
    RETRIEVAL = "retrieval"
    """What memory banks found, before the model sees it; only for shields that name it in their `touchpoints`."""


OnError: TypeAlias = Literal["block", "allow"]
"""What a shield that cannot judge does: both are recorded."""


@dataclass(frozen=True, slots=True)
class SafetyViolation:
    """Why a shield objects, as Llama Stack has it.

    Attributes:
        user_message: What the user is told instead.
        metadata: `violation_type` holds the category's code (`S1` … `S14`) where there is one.
        violation_level: `error` blocks; `warn` and `info` are only recorded.
    """

    user_message: str = "I can't answer that. Can I help with something else?"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    violation_level: Literal["info", "warn", "error"] = "error"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one shield said.

    Attributes:
        shield_id: Which shield.
        violation: Its objection, or None.
        raw: The shield's own answer.
        model: The model behind it, or an empty string.
        prompt: The exact text that a model behind it saw.
        error: Why it could not judge (time-out, unreadable answer), or None; `violation` then follows its policy.
        replacement: What the judged content becomes, with something stripped or masked; None leaves it as it is. Models
            see the replacement from then on, and of an answer the caller, too; the log keeps what came.
        masked: The real values behind the placeholders in `replacement`, for the shield's own `reveal`. Within a
            session one placeholder means one value.
        latency: Seconds that it took.
        subject: What it judged, where several things were judged together: a call's id, an input message's number.
        digest: SHA-256 of what it judged; the same content is not judged twice in a turn.
    """

    shield_id: str
    violation: SafetyViolation | None = None
    raw: str = ""
    model: str = ""
    prompt: str = ""
    error: str | None = None
    replacement: Content | None = None
    masked: Mapping[str, str] = field(default_factory=dict)
    latency: float = 0.0
    subject: str = ""
    digest: str = ""

    @classmethod
    def failed(
        cls,
        shield_id: str,
        error: str,
        on_error: OnError = "block",
        *,
        raw: str = "",
        model: str = "",
        prompt: str = "",
    ) -> Verdict:
        """The verdict of a shield that could not judge: an objection that blocks, or under `allow` only warns."""
        level: Literal["warn", "error"] = "warn" if on_error == "allow" else "error"
        violation = SafetyViolation(metadata={"violation_type": "unchecked"}, violation_level=level)
        return cls(shield_id, violation, raw, model, prompt, error)

    @property
    def blocked(self) -> bool:
        """Whether the content must not pass."""
        return self.violation is not None and self.violation.violation_level == "error"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the shields of one touchpoint said, in the order in which they were configured.

    Attributes:
        verdicts: What each said.
        released: The beginning of an answer that had reached the caller before they objected to the rest.
    """

    verdicts: tuple[Verdict, ...] = ()
    released: str = ""
    outcome: Literal["judgement"] = "judgement"

    @property
    def violation(self) -> SafetyViolation | None:
        """The first objection that blocks, or None."""
        return next((verdict.violation for verdict in self.verdicts if verdict.blocked), None)

    @property
    def replacements(self) -> dict[str, Content]:
        """What judged content becomes, by its subject; a later repair is made on top of an earlier one."""
        return {verdict.subject: verdict.replacement for verdict in self.verdicts if verdict.replacement is not None}


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that a memory bank found.

    Attributes:
        text: The chunk.
        score: Finite; larger is better; the bank documents its scale.
        document_id: The document it is part of.
        bank: The bank's name.
        title: The document's title.
        source: A path or URL.
        position: Page, heading path or character span.
        metadata: The document's own metadata.
    """

    text: str
    score: float
    document_id: str
    bank: str = ""
    title: str = ""
    source: str = ""
    position: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What memory retrieval found, and the text that went into the prompt.

    Attributes:
        query: What was searched for.
        hits: Best first.
        inserted: The text that went into the prompt.
        shown: How many of the hits, from the first, are in it, numbered from 1; None is all.
        failures: What failed, by the bank's name; `query_generator` where the model could not write the query.
        prompt: The exact prompt by which the model was asked for the query; empty where that is the user's message.
        usage: Tokens that this took.
    """

    query: str
    hits: tuple[Hit, ...] = ()
    inserted: str = ""
    shown: int | None = None
    failures: Mapping[str, Failure] = field(default_factory=dict)
    prompt: str = ""
    usage: Usage = Usage()
    outcome: Literal["retrieval"] = "retrieval"


@dataclass(frozen=True, slots=True)
class Generation:
    """What a model generated.

    Attributes:
        message: The decoded message.
        usage: Tokens taken.
        raw: The generated text with special tokens, where the provider saw it.
    """

    message: AssistantMessage
    usage: Usage = Usage()
    raw: str | None = None
    outcome: Literal["generation"] = "generation"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a step did not end as it should have: the error's class and its text."""

    error: str
    message: str
    outcome: Literal["failure"] = "failure"


Outcome: TypeAlias = Annotated[Generation | Judgement | Retrieval | Failure, TaggedBy("outcome")]
"""What a step left behind; a tool execution leaves its responses instead."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What of the conversation a prompt does not hold, because all of it would not fit the model's context.

    Attributes:
        turns: How many of the session's turns, from the first on.
        summary: What the model wrote to stand for them; empty when nothing does.
        prompt: The exact prompt by which it was asked for the summary; only on the step that asked.
        usage: Tokens that this took, on that step.
        failure: Why there is no summary though one was wanted, on that step; or None.
    """

    turns: int = 0
    summary: str = ""
    prompt: str = ""
    usage: Usage = Usage()
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceStep:
    """The model was asked.

    Attributes:
        step_id: Unique; pass it (or the step) to `session.prompt` for the exact prompt.
        turn_id: The turn it belongs to.
        started_at: UTC.
        completed_at: UTC; None while it runs or when it was cut off.
        model: The model string.
        prompt: The prompt store's template behind the instructions, as `name@version`; empty when they are plain text.
        left_out: What of the conversation its prompt does not hold; None when it holds all of it.
        generation: What came back, or None.
        failure: Why nothing came back, or None.
    """

    step_id: str
    turn_id: str
    started_at: datetime
    completed_at: datetime | None = None
    model: str = ""
    prompt: str = ""
    left_out: LeftOut | None = None
    generation: Generation | None = None
    failure: Failure | None = None
    step_type: Literal["inference"] = "inference"

    @property
    def message(self) -> AssistantMessage | None:
        """The model's message, or None."""
        return self.generation.message if self.generation else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolExecutionStep:
    """The model's calls were carried out.

    Attributes:
        step_id: Unique.
        turn_id: The turn it belongs to.
        started_at: UTC.
        completed_at: UTC, or None.
        tool_calls: The calls of the message before, in order.
        tool_responses: One for each call and in the same order, once the step is complete.
    """

    step_id: str
    turn_id: str
    started_at: datetime
    completed_at: datetime | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_responses: tuple[ToolResponse, ...] = ()
    step_type: Literal["tool_execution"] = "tool_execution"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShieldCallStep:
    """The shields of one touchpoint looked at content.

    Attributes:
        step_id: Unique.
        turn_id: The turn it belongs to.
        started_at: UTC.
        completed_at: UTC, or None.
        touchpoint: Where in the turn.
        judgement: What they said; None until complete.
        failure: Why there is no judgement, or None.
    """

    step_id: str
    turn_id: str
    started_at: datetime
    completed_at: datetime | None = None
    touchpoint: Touchpoint = Touchpoint.INPUT
    judgement: Judgement | None = None
    failure: Failure | None = None
    step_type: Literal["shield_call"] = "shield_call"

    @property
    def violation(self) -> SafetyViolation | None:
        """The first objection that blocks, or None."""
        return None if self.judgement is None else self.judgement.violation


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRetrievalStep:
    """Memory banks were searched.

    Attributes:
        step_id: Unique.
        turn_id: The turn it belongs to.
        started_at: UTC.
        completed_at: UTC, or None.
        banks: The names of the banks asked.
        retrieval: What was found, or None.
        failure: Why nothing could be searched, or None.
    """

    step_id: str
    turn_id: str
    started_at: datetime
    completed_at: datetime | None = None
    banks: tuple[str, ...] = ()
    retrieval: Retrieval | None = None
    failure: Failure | None = None
    step_type: Literal["memory_retrieval"] = "memory_retrieval"


Step: TypeAlias = Annotated[
    InferenceStep | ToolExecutionStep | ShieldCallStep | MemoryRetrievalStep, TaggedBy("step_type")
]
