"""Prompt Guard 2 and classifiers like it: a model that says how likely a text is a prompt injection or a jailbreak.

Behind an HTTP endpoint in one of two forms:

* Hugging Face's text classification (Inference Endpoints; `/predict` of text-embeddings-inference): a post of
  `{"inputs": TEXT}` gives `[{"label": "LABEL_1", "score": 0.98}, …]`, alone or within another list.
* Llama Stack's safety API: a post of `{"shield_id": …, "messages": […], "params": {}}` to `/v1/safety/run-shield` gives
  `{"violation": null}`, or an object with `violation_level`, `user_message` and `metadata`.

Or in this process: an ONNX model of two classes with its `tokenizer.json`, from the model registry or a folder.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from agentic.inference.failures import Server
from agentic.inference.http import Http, base_url
from agentic.models import INJECTION_MODEL, find, located, pull
from agentic.shield import to_judge
from agentic.threads import run_in_thread
from agentic.types import ConfigError, InvalidInput, InvalidResponse, Message, SafetyViolation, Touchpoint, Verdict
from agentic.types.errors import InferenceTimeout
from agentic.types.steps import OnError

from ..conversation import written

Form: TypeAlias = Literal["huggingface", "llama-stack"]

LONGEST = 100_000
"""Characters that are looked at; what is longer is not judged, so it follows `on_error`."""

_MALICIOUS = ("LABEL_1", "MALICIOUS", "INJECTION", "JAILBREAK", "UNSAFE")
_BENIGN = ("LABEL_0", "BENIGN", "SAFE", "LEGIT")
_PIECE, _OVERLAP = 1500, 300  # characters: fewer than the 512 tokens that such models read
# Tokens of a window, and how far the next one is: large ones drown a sentence, small ones lack context.
_WINDOWS = ((254, 190), (24, 12))
_BATCH = 16
_AT_ONCE = 4


class PromptGuard:
    """Asks a classifier about the last message.

    Args:
        model: A model of the registry, a folder with `model.onnx` and `tokenizer.json`, or the URL of an endpoint.
        action: `block` ends the turn; `flag` only records it.
        threshold: The probability from which a text counts, above 0 and below 1. Llama Stack's endpoint has its own.
        form: What the endpoint speaks.
        remote_id: The shield's name at a Llama Stack.
        api_key: Sent to the endpoint as a bearer token.
        timeout: Seconds for one verdict of an endpoint.
        on_error: What becomes of a text that cannot be judged.
        shield_id: Its id.

    Raises:
        ConfigError: An option makes no sense.
        NotFound: The registry has no such model.
    """

    touchpoints = frozenset({Touchpoint.INPUT, Touchpoint.TOOL_RESULT, Touchpoint.RETRIEVAL})

    def __init__(
        self,
        model: str | Path = INJECTION_MODEL,
        action: Literal["block", "flag"] = "block",
        *,
        threshold: float = 0.9,
        form: Form = "huggingface",
        remote_id: str = "prompt_guard",
        api_key: str = "",
        timeout: float = 20.0,
        on_error: OnError = "block",
        shield_id: str = "prompt_guard",
    ) -> None:
        if action not in ("block", "flag") or on_error not in get_args(OnError) or form not in get_args(Form):
            raise ConfigError("action is block or flag, on_error block or allow, form huggingface or llama-stack.")
        if not 0 < threshold < 1 or not 0 < timeout <= 600:
            raise ConfigError("threshold is above 0 and below 1, timeout above 0 and at most 600 seconds.")
        self.shield_id = shield_id
        self.on_error: OnError = on_error
        self._action = action
        self._threshold = threshold
        self._classifier: _Endpoint | _Stack | _Onnx
        if str(model).lower().startswith(("http://", "https://")):
            url = base_url(str(model))
            server = Server(f"classifier at {url.rpartition('@')[2].partition('?')[0]}", remote_id, api_key)
            headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
            if form == "huggingface":
                self._classifier = _Endpoint(Http(url, server=server, headers=headers), timeout)
            else:
                self._classifier = _Stack(Http(url, server=server, headers=headers), timeout, remote_id)
        else:
            self._classifier = _Onnx(model)

    def __repr__(self) -> str:
        return f"PromptGuard({self._classifier.name!r})"

    async def check(self, messages: Sequence[Message]) -> Verdict:
        """Judges the last message, in overlapping pieces when it is long; the worst piece counts.

        Raises:
            InvalidInput: There is none, or it is too long.
            InferenceError: The endpoint fails, or answers with something else.
        """
        text = written(to_judge(messages)[-1])
        if not text.strip():
            return Verdict(self.shield_id, model=self._classifier.name)
        if len(text) > LONGEST:
            raise InvalidInput(f"The text has {len(text):,} characters; at most {LONGEST:,} are looked at.")
        probability = await self._classifier.probability(text)
        raw = json.dumps({"probability": round(probability, 6), "threshold": self._threshold})
        violation = None
        if probability >= self._threshold:
            level: Literal["error", "warn"] = "error" if self._action == "block" else "warn"
            metadata = {"violation_type": "prompt_injection", "probability": round(probability, 6)}
            violation = SafetyViolation("I stopped: this looks like an attempt to take control.", metadata, level)
        return Verdict(self.shield_id, violation, raw=raw, model=self._classifier.name, prompt=text)

    @property
    def problem(self) -> str:
        """What keeps it from judging at once; an empty string when nothing does."""
        return self._classifier.problem

    async def aclose(self) -> None:
        """Closes connections, or frees the model."""
        await self._classifier.aclose()


def shield(_: str) -> PromptGuard:
    """The entry point of `prompt_guard`."""
    return PromptGuard()


class _Endpoint:
    """Hugging Face's form."""

    problem = ""

    def __init__(self, http: Http, timeout: float) -> None:
        self.path = "" if urlsplit(http.endpoint).path else "/"
        self._http = http
        self._seconds = timeout
        self.name = http.server.name

    async def probability(self, text: str) -> float:
        """How likely the worst piece of a text is an attack."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def ask(piece: str) -> float:
            async with gate:
                return self._read(await self._http.fetch(self.path, json.dumps(self._question(piece)).encode()))

        try:
            async with asyncio.timeout(self._seconds):
                return max(await asyncio.gather(*map(ask, _pieces(text))))
        except TimeoutError:
            raise InferenceTimeout(f"The {self.name} gave no verdict within {self._seconds:g} s.") from None

    def _question(self, piece: str) -> dict[str, Any]:
        return {"inputs": piece}

    def _read(self, answer: bytes) -> float:
        said = _json(answer, self.name)
        while isinstance(said, list) and said and isinstance(said[0], list):
            said = said[0]
        scores: dict[str, float] = {}
        for one in said if isinstance(said, list) else [said]:
            if isinstance(one, dict) and isinstance(score := one.get("score"), int | float) and 0 <= score <= 1:
                scores[str(one.get("label")).upper()] = float(score)
        if found := [scores[label] for label in _MALICIOUS if label in scores]:
            return max(found)
        if found := [scores[label] for label in _BENIGN if label in scores]:
            return 1 - max(found)
        raise InvalidResponse(f"The {self.name} gave no labels such as LABEL_1 with scores.")

    async def aclose(self) -> None:
        await self._http.aclose()


class _Stack(_Endpoint):
    """Llama Stack's form."""

    def __init__(self, http: Http, timeout: float, remote_id: str) -> None:
        super().__init__(http, timeout)
        self.path = "/v1/safety/run-shield"
        self._remote_id = remote_id

    def _question(self, piece: str) -> dict[str, Any]:
        return {"shield_id": self._remote_id, "messages": [{"role": "user", "content": piece}], "params": {}}

    def _read(self, answer: bytes) -> float:
        match _json(answer, self.name):
            case {"violation": None}:
                return 0.0
            case {"violation": {"violation_level": str(level)}}:
                return 1.0 if level == "error" else 0.0
        raise InvalidResponse(f"The {self.name} gave no violation, not even null.")


class _Onnx:
    """A model in this process, loaded when it is first used; its second class is the attack."""

    def __init__(self, model: str | Path) -> None:
        for module in ("onnxruntime", "tokenizers"):
            if importlib.util.find_spec(module) is None:
                raise ConfigError(
                    f"Classifiers in this process need {module}.", hint="Install it: pip install 'agentic[local]'."
                )
        folder = Path(model)
        self._folder = folder if folder.is_dir() else None
        self._model = None if self._folder else find(str(model))
        self.name = f"local/{folder.name if self._model is None else self._model.name}"
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    @property
    def problem(self) -> str:
        """What has to be done before the first text can be judged at once."""
        if self._model is None or located(self._model) is not None:
            return ""
        return f"Its model is fetched when it is first used. Now: agentic models pull {self._model.name}"

    async def probability(self, text: str) -> float:
        """How likely the worst window of a text is an attack."""
        cancel = threading.Event()
        try:
            return await run_in_thread(lambda: self._probability(text, cancel), "agentic-prompt-guard")
        except asyncio.CancelledError:
            cancel.set()
            raise

    async def aclose(self) -> None:
        self._loaded = None

    def _probability(self, text: str, cancel: threading.Event) -> float:
        import numpy as np

        with self._lock:
            if self._loaded is None:
                folder = self._folder or pull(self._model or find(INJECTION_MODEL), cancel=cancel).parent
                self._loaded = _load(folder)
            tokenizer, session = self._loaded
        wanted = {item.name for item in session.get_inputs()}
        worst = 0.0
        for batch in _windows(tokenizer.encode(text).ids):
            if cancel.is_set():
                break
            ids = np.array(batch, dtype=np.int64)
            inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
            logits = session.run(None, {name: value for name, value in inputs.items() if name in wanted})[0]
            if logits.shape[-1] != 2:
                raise InvalidInput(f"The classifier {self.name} has {logits.shape[-1]} classes instead of two.")
            lead = float((logits[:, 1] - logits[:, 0]).max())
            worst = max(worst, 1 / (1 + math.exp(min(700.0, -lead))))
        return worst


def _load(folder: Path) -> tuple[Any, Any]:
    import onnxruntime
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return tokenizer, onnxruntime.InferenceSession(
        str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )


def _pieces(text: str) -> Iterable[str]:
    last = max(1, len(text) - _OVERLAP)
    return [text[start : start + _PIECE] for start in range(0, last, _PIECE - _OVERLAP)]


def _windows(ids: list[int]) -> Iterator[list[list[int]]]:
    """Batches of windows of one length, each between the tokens that begin and end a text."""
    first, inner, last = ids[0], ids[1:-1], ids[-1]
    for size, step in _WINDOWS:
        starts = list(range(0, max(1, len(inner) - size + step), step))
        if size < _WINDOWS[0][0] and len(inner) <= size:
            return  # seen as a whole already
        windows = [[first, *inner[min(start, max(0, len(inner) - size)) :][:size], last] for start in starts]
        for at in range(0, len(windows), _BATCH):
            yield windows[at : at + _BATCH]


def _json(answer: bytes, who: str) -> Any:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        raise InvalidResponse(f"The {who} answered with something that is not JSON.") from None
