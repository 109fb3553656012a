"""Numbers for Prometheus, at `/metrics`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ..types.steps import InferenceStep, ShieldCallStep, ToolExecutionStep

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
MOST_NAMES = 200
"""How many names clients may bring into one label; all others are counted as `other`."""


class Metrics:
    """The numbers of one application.

    Attributes:
        running: Turns under way.
        open: Requests under way, streams included.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._names: dict[str, set[str]] = {}
        kept = self._registry
        self._requests = Counter("agentic_requests", "Requests", ["method", "route", "status"], registry=kept)
        self._latency = Histogram("agentic_request_seconds", "Time", ["route"], registry=kept, buckets=SECONDS)
        self.open = Gauge("agentic_requests_open", "Requests under way, streams included", registry=kept)
        self._turns = Counter("agentic_turns", "Turns that ended or paused", ["reason"], registry=kept)
        self._duration = Histogram("agentic_turn_seconds", "Time", registry=kept, buckets=SECONDS)
        self.running = Gauge("agentic_turns_running", "Turns under way", registry=kept)
        self._tokens = Counter("agentic_tokens", "Tokens", ["model", "kind"], registry=kept)
        self._inferences = Counter("agentic_inferences", "Inferences", ["model", "outcome"], registry=kept)
        self._calls = Counter("agentic_tool_calls", "Tool calls", ["tool", "status"], registry=kept)
        self._violations = Counter("agentic_violations", "Shields' objections", ["shield"], registry=kept)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts a request."""
        self._requests.labels(method if method in _METHODS else "other", route, status).inc()
        self._latency.labels(route).observe(seconds)

    def turn(self, reason: str, seconds: float) -> None:
        """Counts a turn."""
        self._turns.labels(reason).inc()
        self._duration.observe(seconds)

    def step(self, step: InferenceStep | ToolExecutionStep | ShieldCallStep) -> None:
        """Counts a step."""
        match step:
            case InferenceStep():
                model = self._name("model", step.model)
                self._inferences.labels(model, "failed" if step.failure else "ok").inc()
                if step.generation is not None:
                    self._tokens.labels(model, "input").inc(step.generation.usage.input_tokens)
                    self._tokens.labels(model, "output").inc(step.generation.usage.output_tokens)
            case ToolExecutionStep():
                for response in step.tool_responses:
                    self._calls.labels(self._name("tool", response.tool_name), response.status.value).inc()
            case ShieldCallStep():
                for verdict in step.judgement.verdicts if step.judgement else ():
                    if verdict.violation is not None:
                        self._violations.labels(self._name("shield", verdict.shield_id)).inc()

    def text(self) -> bytes:
        """The numbers in Prometheus's text format."""
        return generate_latest(self._registry)

    def _name(self, label: str, name: str) -> str:
        """A name that a client or a model made up, as long as there are not too many."""
        known = self._names.setdefault(label, set())
        if name not in known and len(known) >= MOST_NAMES:
            return "other"
        known.add(name)
        return name


_METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")
