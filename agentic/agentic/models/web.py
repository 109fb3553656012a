"""Files at an http(s) address or on the Hub: streamed, resumed by byte range, retried where the line breaks."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ..types.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    InferenceError,
    InvalidInput,
    InvalidResponse,
    ModelNotFound,
    RateLimited,
    RequestRejected,
    ServerFailed,
)
from .partial import Partial
from .registry import Hub

TRIES = 4
"""How often one fetch connects before it gives up; each try goes on where the last one broke."""

PAUSE = 0.2
"""Seconds before the second try; four times as long before each later one."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch_url(url: str, partial: Partial, headers: Mapping[str, str] | None = None, key: str = "") -> None:
    """Fetches a file, going on after the bytes that are here already.

    Args:
        url: An http(s) address.
        partial: Where the bytes go.
        headers: Sent to that host; not to another that it redirects to.
        key: What names this very version of the file; the address when empty.

    Raises:
        InferenceError: The server refused, failed, or broke the line each time.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise InvalidInput(f"A model's address begins with http:// or https://, not {url[:60]!r}.")
    for attempt in range(1, TRIES + 1):
        try:
            _attempt(url, partial, dict(headers or {}), f"url {key or url}")
        except (ConnectionFailed, ServerFailed):
            partial.check()
            if attempt == TRIES or partial.cancel.wait(PAUSE * 4**attempt):
                raise
        else:
            return


def _attempt(url: str, partial: Partial, headers: dict[str, str], key: str) -> None:
    import httpx

    state = partial.state(key)
    start = partial.size()
    headers["Accept-Encoding"] = "identity"
    if start:
        headers["Range"] = f"bytes={start}-"
        if state.get("etag"):
            headers["If-Range"] = state["etag"]
    try:
        with (
            httpx.Client(follow_redirects=True, timeout=httpx.Timeout(60, connect=15)) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            if response.status_code == 416:  # nothing behind our bytes: whole, or of another version
                if partial.file.size != start:
                    partial.drop()
                    raise ConnectionFailed(f"The server holds another version of {partial.file.name} now.")
                return
            _raise_for(response.status_code, partial.file.name, response.headers)
            start = _start(response, start)
            etag = response.headers.get("ETag", "")
            partial.keep(state | {"bytes": 0, "etag": "" if etag.startswith("W/") else etag})
            with partial.writing(start) as sink:
                for block in response.iter_raw():
                    sink.write(block)
    except httpx.HTTPError as error:
        raise ConnectionFailed(
            f"Fetching {partial.file.name} broke off: {str(error) or type(error).__name__}."
        ) from error


def _start(response: Any, wanted: int) -> int:
    """The byte at which the answer's body begins."""
    if response.status_code != 206:
        return 0
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != wanted:
        raise InvalidResponse("The server sent another part of the file than was asked for.")
    return wanted


def _raise_for(status: int, name: str, headers: Mapping[str, str]) -> None:
    if status < 400:
        return
    if status in (401, 403):
        raise AuthenticationFailed(
            f"The server refuses to give {name} ({status}).",
            hint="If the model is gated, accept its licence on the Hub and set HF_TOKEN.",
        )
    if status in (404, 410):
        raise ModelNotFound(f"The server has no {name} ({status}).")
    if status == 429:
        after = headers.get("Retry-After", "")
        raise RateLimited(f"The server asks us to wait before fetching {name}.", retry_after=_seconds(after))
    kind = ServerFailed if status >= 500 else RequestRejected
    raise kind(f"The server answered {status} for {name}.")


def _seconds(text: str) -> float | None:
    return float(text) if text.isdecimal() else None


def fetch_hub(source: Hub, partial: Partial) -> None:
    """Fetches a file of the Hub; its LFS hash there becomes the hash to verify when the registry has none.

    `HF_ENDPOINT` and `HF_TOKEN` hold, and a token saved by `hf auth login`.

    Raises:
        InferenceError: The Hub cannot be reached, refuses, or names no SHA-256 for the file.
    """
    import huggingface_hub

    endpoint = os.environ.get("HF_ENDPOINT") or None
    url = huggingface_hub.hf_hub_url(source.repo, source.path, revision=source.revision, endpoint=endpoint)
    token = huggingface_hub.get_token()
    try:
        found = huggingface_hub.get_hf_file_metadata(url, token=token or False, timeout=15)
    except Exception as error:
        raise _hub_failure(error, partial.file.name) from error
    etag = (found.etag or "").lower()
    if partial.sha256 is None:
        if not _SHA256.fullmatch(etag):
            raise InvalidResponse(f"The Hub names no SHA-256 for {partial.file.name}; it cannot be verified.")
        partial.sha256 = etag
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    fetch_url(url, partial, headers, key=f"hub {source.repo} {source.path} {etag}")


def _hub_failure(error: Exception, name: str) -> InferenceError:
    """The Hub client raises its HTTP library's errors, and its own with the response in them."""
    response = getattr(error, "response", None)
    if response is None:
        return ConnectionFailed(f"The Hub cannot be reached for {name}: {type(error).__name__}.")
    try:
        _raise_for(response.status_code, name, response.headers)
    except InferenceError as known:
        return known
    return InvalidResponse(f"The Hub's answer for {name} cannot be read: {type(error).__name__}.")
