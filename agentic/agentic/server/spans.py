"""OpenTelemetry spans of turns, steps and tool calls, named as the GenAI semantic conventions have it.

They are made from the engine's events, so a turn runs the same with and without them. They hold names, ids and
numbers, never what was said.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..types.errors import ConfigError
from ..types.events import (
    Event,
    StepCompleted,
    StepStarted,
    ToolCallCompleted,
    ToolCallStarted,
    TurnCompleted,
    TurnPaused,
    TurnStarted,
)
from ..types.steps import InferenceStep, ShieldCallStep, Step, StepType
from ..types.tools import ToolStatus

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_OPERATIONS = {StepType.INFERENCE: "chat", StepType.MEMORY_RETRIEVAL: "retrieval"}


def wanted(endpoint: str | None) -> bool:
    """Whether spans are to be sent anywhere."""
    return bool(endpoint or any(os.environ.get(name) for name in _VARIABLES))


class Spans:
    """Makes spans.

    Args:
        provider: Where they go; `Spans.sent` makes one that sends them to a collector.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("agentic")

    @classmethod
    def sent(cls, endpoint: str | None) -> Spans:
        """Spans that are sent by OTLP over HTTP, from a thread of their own.

        Args:
            endpoint: The collector, such as `http://127.0.0.1:4318/v1/traces`; None: what `OTEL_*` variables say.

        Raises:
            ConfigError: The extra `otel` is missing.
        """
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            raise ConfigError("Spans need more packages.", hint="Run: pip install 'agentic[otel]'") from None
        name = os.environ.get("OTEL_SERVICE_NAME", "agentic")
        provider = TracerProvider(resource=Resource.create({"service.name": name}), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        return cls(provider)

    def turn(self, session_id: str) -> TurnSpans:
        """The spans of one turn."""
        return TurnSpans(self._tracer, session_id)

    def close(self) -> None:
        """Sends what is left. This blocks."""
        self._provider.shutdown()


class TurnSpans:
    """The spans of one turn: itself, its steps below it, and calls below the steps that make them.

    Args:
        tracer: Makes them.
        session_id: The session.
    """

    def __init__(self, tracer: Tracer, session_id: str) -> None:
        self._tracer = tracer
        self._open: dict[str, Span] = {}
        self._turn = tracer.start_span(
            "invoke_agent",
            attributes={"gen_ai.operation.name": "invoke_agent", "gen_ai.conversation.id": session_id},
        )

    def see(self, event: Event) -> None:
        """Takes one event of the engine."""
        match event:
            case TurnStarted(turn_id=turn_id):
                self._turn.set_attribute("agentic.turn.id", turn_id)
            case StepStarted(step_id=step_id, step_type=step_type):
                name = _OPERATIONS.get(step_type, step_type.value)
                known = {"gen_ai.operation.name": name, "agentic.step.id": step_id, "agentic.step.type": step_type}
                self._begin(step_id, name, self._turn, known)
            case StepCompleted(step=step):
                self._end_step(step)
            case ToolCallStarted(call=call, step_id=step_id):
                known = {
                    "gen_ai.operation.name": "execute_tool",
                    "gen_ai.tool.name": call.name,
                    "gen_ai.tool.call.id": call.call_id,
                }
                above = self._open.get(step_id, self._turn)
                self._begin(f"call {call.call_id}", f"execute_tool {call.name}", above, known)
            case ToolCallCompleted(response=response):
                span = self._open.pop(f"call {response.call_id}", None)
                if span is not None:
                    _finish(span, None if response.status is ToolStatus.OK else response.status.value)
            case TurnPaused(turn=turn) | TurnCompleted(turn=turn):
                reason = str(turn.reason) if turn.reason else "paused"
                usage = {
                    "gen_ai.usage.input_tokens": turn.usage.input_tokens,
                    "gen_ai.usage.output_tokens": turn.usage.output_tokens,
                }
                self._turn.set_attributes({"agentic.turn.id": turn.turn_id, "agentic.turn.reason": reason, **usage})
            case _:
                pass

    def close(self, error: BaseException | None = None) -> None:
        """Ends what is still open."""
        kind = type(error).__qualname__ if error is not None else None
        for span in reversed(self._open.values()):
            _finish(span, kind or "unfinished")
        self._open.clear()
        _finish(self._turn, kind)

    def _begin(self, key: str, name: str, above: Span, attributes: Mapping[str, Any]) -> None:
        from opentelemetry.trace import SpanKind, set_span_in_context

        kind = SpanKind.CLIENT if name == "chat" else SpanKind.INTERNAL
        context = set_span_in_context(above)
        self._open[key] = self._tracer.start_span(name, context=context, kind=kind, attributes=attributes)

    def _end_step(self, step: Step) -> None:
        span = self._open.pop(step.step_id, None)
        if span is None:
            return
        failure = getattr(step, "failure", None)
        if isinstance(step, InferenceStep):
            provider, _, model = step.model.partition("/")
            span.update_name(f"chat {model}".rstrip())
            span.set_attributes({"gen_ai.provider.name": provider, "gen_ai.request.model": model})
            if step.generation is not None:
                usage, reason = step.generation.usage, str(step.generation.message.stop_reason)
                span.set_attribute("gen_ai.usage.input_tokens", usage.input_tokens)
                span.set_attribute("gen_ai.usage.output_tokens", usage.output_tokens)
                span.set_attribute("gen_ai.response.finish_reasons", [reason])
        if isinstance(step, ShieldCallStep) and step.judgement is not None:
            span.set_attribute("agentic.violation", step.violation is not None)
        _finish(span, failure.error if failure is not None else None)


def _finish(span: Span, error: str | None) -> None:
    from opentelemetry.trace import Status, StatusCode

    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))
    span.end()
