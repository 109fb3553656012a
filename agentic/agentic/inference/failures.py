"""From what went wrong on the wire to one error of the tree that says what to do."""

from __future__ import annotations

import email.utils
import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from ..types.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    ContextOverflow,
    InferenceError,
    InferenceTimeout,
    InvalidResponse,
    ModelNotFound,
    RateLimited,
    RequestRejected,
    ServerFailed,
    StreamBroken,
)

# The documented wordings of OpenAI, vLLM (old and new), llama.cpp's server, Ollama and the hosts built on them.
_OVERFLOW = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum context length|model's context length|context (?:size|window)"
    r"|maximum model length|exceeds? the (?:available |maximum )?context|input length exceeds|prompt is too long",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"model_not_found|\bmodel\b.{0,200}?(?:not found|does not exist|not exist)", re.IGNORECASE | re.DOTALL
)
_TITLE = re.compile(r"<title[^>]*>([^<]{0,200})", re.IGNORECASE)
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Server:
    """Which server and model an error is about.

    Attributes:
        name: How an error names the server: its kind and its address, without credentials.
        model: The model's name on that server.
        secret: The API key, cut out of everything that the server says.
        model_hint: What to do when the server does not know the model.
    """

    name: str
    model: str
    secret: str = ""
    model_hint: str = "Check the model's name against those that the server lists."

    def __repr__(self) -> str:
        return f"Server({self.name!r}, {self.model!r})"

    def refused(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> InferenceError:
        """The error for an HTTP status that is no success."""
        code, said = self._read(body)
        return self._explain(status, code, said, headers or {})

    def reported(self, error: Any) -> InferenceError:
        """The error for an error object inside a stream that began well."""
        code, said = self._read(json.dumps({"error": error}).encode())
        number = error.get("code") if isinstance(error, dict) else None
        status = number if isinstance(number, int) and 400 <= number < 600 else 500
        return self._explain(status, code, said, {})

    def unreachable(self, error: httpx.HTTPError, *, shown: bool) -> InferenceError:
        """The error for a connection that failed; `shown` says whether part of the answer had arrived."""
        if isinstance(error, httpx.TimeoutException):
            return InferenceTimeout(f"The {self.name} did not answer in time ({type(error).__name__}).")
        if shown:
            return StreamBroken(f"The {self.name} broke the connection in the middle of its answer ({_words(error)}).")
        causes = list(_causes(error))
        if any(isinstance(cause, socket.gaierror) for cause in causes):
            return ConnectionFailed(f"The {self.name} cannot be found.", hint="Check the endpoint's host name.")
        if tls := [cause for cause in causes if isinstance(cause, ssl.SSLError)]:
            return ConnectionFailed(
                f"No secure connection to the {self.name}: {_words(tls[0])}.",
                hint="Check the certificate, and whether the endpoint should begin with http://.",
            )
        if isinstance(error, httpx.ConnectError):
            return ConnectionFailed(
                f"No connection to the {self.name}: {_words(error)}.", hint="Check that the server runs."
            )
        return ConnectionFailed(f"The connection to the {self.name} broke ({_words(error)}).")

    def ended_early(self, *, shown: bool) -> InferenceError:
        """The error for a stream that ended without saying that it is complete."""
        if shown:
            return StreamBroken(f"The {self.name} ended its answer in the middle.")
        return ConnectionFailed(f"The {self.name} closed the stream before it said anything.")

    def not_as_documented(self, what: str, data: str = "") -> InvalidResponse:
        """The error for an answer that is not what the API documents."""
        found = f": {self._clean(data)}" if data else ""
        return InvalidResponse(f"The {self.name} answered with {what}{found}.")

    def _explain(self, status: int, code: str, said: str, headers: Mapping[str, str]) -> InferenceError:
        text = f"The {self.name} answered {status}: {said}."
        if status in (401, 403):
            return AuthenticationFailed(text, hint="Check the API key.")
        if status == 429:
            if "insufficient_quota" in code:
                return RequestRejected(text, hint="The account has no quota left.")
            wait = _retry_after(headers)
            when = "later" if wait is None else f"after {wait:.0f} s"
            return RateLimited(text, retry_after=wait, hint=f"It can be tried again {when}.")
        if _OVERFLOW.search(code) or _OVERFLOW.search(said):
            return ContextOverflow(text, hint="Shorten the conversation, or use a model with a larger context.")
        if status in (400, 404) and (_NO_MODEL.search(code) or _NO_MODEL.search(said)):
            return ModelNotFound(f"The {self.name} does not serve the model {self.model!r}.", hint=self.model_hint)
        if status == 404:
            return RequestRejected(text, hint="Check the endpoint's path (most OpenAI-compatible servers end in /v1).")
        if status in (408, 504):
            return InferenceTimeout(text)
        if status >= 500:
            return ServerFailed(text, hint="Its log may say why; it can be tried again later.")
        if 300 <= status < 400:
            return RequestRejected(text, hint=f"Use {headers.get('location', 'the new address')} as the endpoint.")
        return RequestRejected(text)

    def _read(self, body: bytes) -> tuple[str, str]:
        """An error body's code and its words, however the server arranges them."""
        text = body.decode("utf-8", "replace")
        try:
            found: Any = json.loads(text)
        except (ValueError, RecursionError):
            return "", self._clean(text) or "(no text)"
        code = ""
        for key in ("error", "detail", "message"):
            if isinstance(found, dict) and found.get(key):
                code += f" {found.get('code') or ''} {found.get('type') or ''}"
                found = found[key]
        said = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
        return code, self._clean(said) or "(no text)"

    def _clean(self, text: str) -> str:
        """Server text as one short line, without markup and without the key."""
        if text.lstrip()[:1] == "<":
            title = _TITLE.search(text[:10_000])
            text = f"an HTML page titled {title[1].strip()!r}" if title else "an HTML page"
        if len(self.secret) > 5:  # a shorter one is no secret, but part of many words
            text = text.replace(self.secret, "[key]")
        text = " ".join(text[: 4 * _LONGEST].split())
        return (text if len(text) <= _LONGEST else text[:_LONGEST] + "…").rstrip(".")


def _words(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `Retry-After` as seconds or as an HTTP date."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (when - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if seconds < 1e9 else None
