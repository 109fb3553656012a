"""What `agentic doctor` looks at; each check returns plain data."""

from __future__ import annotations

import os
import platform
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import keys
from ..types.errors import AgenticError, ConfigError

PROBE_SECONDS = 2.0
MAX_LISTING = 1 << 20
"""Bytes read of a server's list of models."""

KEYS = (
    "OPENAI_API_KEY",
    "RAW_API_KEY",
    "OLLAMA_API_KEY",
    "LLAMA_STACK_CLIENT_API_KEY",
    "TAVILY_API_KEY",
    "BRAVE_SEARCH_API_KEY",
    "WOLFRAM_ALPHA_API_KEY",
    "WOLFRAM_ALPHA_APPID",
    "HF_TOKEN",
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A kind of model server.

    Attributes:
        provider: Its prefix in a model string.
        variable: The environment variable that holds its base URL.
        key: The one that holds its key.
        usual: Its base URL when the variable is not set; an empty string is none.
    """

    provider: str
    variable: str
    key: str
    usual: str = ""


ENDPOINTS = (
    Endpoint("openai", "OPENAI_BASE_URL", "OPENAI_API_KEY"),
    Endpoint("raw", "RAW_BASE_URL", "RAW_API_KEY"),
    Endpoint("ollama", "OLLAMA_HOST", "OLLAMA_API_KEY", "http://127.0.0.1:11434"),
    Endpoint("llama-stack", "LLAMA_STACK_BASE_URL", "LLAMA_STACK_CLIENT_API_KEY"),
)


def examine() -> dict[str, Any]:
    """Everything, as plain data without secrets."""
    from .. import plugins

    stored = keys.stored()
    endpoints = _endpoints()
    return {
        "version": metadata.version("agentic"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "extras": _extras(),
        "plugins": {group: plugins.names(group) for group in ("inference", "tools", "memory", "shields")},
        "keys": {name: bool(os.environ.get(name)) or name in stored for name in sorted({*KEYS, *stored})},
        "endpoints": endpoints,
        "local_models": _local_models(),
        "checks": _checks(),
        "folders": _folders(),
        "default": _default(endpoints),
    }


def _extras() -> dict[str, dict[str, str | None]]:
    """For each extra its packages, with their versions or None where one is missing."""
    extras: dict[str, dict[str, str | None]] = {}
    for requirement in metadata.requires("agentic") or ():
        if found := re.match(r"([A-Za-z0-9._-]+).*extra == ['\"]([^'\"]+)", requirement):
            extras.setdefault(found[2], {})[found[1]] = _version(found[1])
    return extras


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _checks() -> dict[str, dict[str, Any]]:
    """What other packages have to say of themselves: for each check whether all is well, and a line."""
    from .. import plugins

    found = {}
    for name in plugins.names("checks"):
        good, text = plugins.load("checks", name)()
        found[name] = {"good": good, "text": text}
    return found


def _folders() -> dict[str, dict[str, Any]]:
    from ..paths import cache_dir, config_dir, data_dir

    folders = {"data": data_dir(), "cache": cache_dir(), "config": config_dir()}
    return {name: {"path": str(path), "writable": _writable(path)} for name, path in folders.items()}


def _writable(path: Path) -> bool:
    """Whether files can be made there; a folder that is missing would be made."""
    existing = next((folder for folder in (path, *path.parents) if folder.exists()), path)
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def _local_models() -> list[dict[str, Any]]:
    from ..models import listed, located

    models = [(model, located(model)) for model in listed()]
    return [{"name": model.name, "kind": model.kind, "bytes": model.size} for model, files in models if files]


def _endpoints() -> list[dict[str, Any]]:
    """The servers that are configured, or usual, with what they answered."""
    asked = []
    for endpoint in ENDPOINTS:
        base = os.environ.get(endpoint.variable) or endpoint.usual
        if endpoint.provider == "openai" and not base and keys.find(endpoint.key):
            base = "https://api.openai.com"
        if base:
            asked.append((endpoint, base))
    with ThreadPoolExecutor(len(ENDPOINTS)) as pool:
        return list(pool.map(lambda pair: _probe(*pair), asked))


def _probe(endpoint: Endpoint, base: str) -> dict[str, Any]:
    import httpx

    from ..inference.http import shown_url

    found: dict[str, Any] = {
        "provider": endpoint.provider,
        "url": "",
        "configured": bool(os.environ.get(endpoint.variable) or keys.find(endpoint.key)),
        "answers": False,
        "models": [],
        "problem": "",
    }
    try:
        base, listing = _listing(endpoint.provider, base)
    except (ConfigError, ValueError):
        return found | {"problem": f"{endpoint.variable} holds no http(s) URL"}
    found["url"] = shown_url(base)
    key = keys.find(endpoint.key)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx.stream("GET", listing, headers=headers, timeout=PROBE_SECONDS) as answer:
            if answer.status_code != httpx.codes.OK:
                return found | {"problem": f"it answered {answer.status_code}"}
            body = b""
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > MAX_LISTING:
                    return found | {"problem": "its list of models is too long"}
    except (httpx.HTTPError, UnicodeError) as error:
        return found | {"problem": _why(error)}
    return found | {"answers": True, "models": _names(body)}


def _listing(provider: str, base: str) -> tuple[str, str]:
    """The base URL as the provider reads it, and where its server lists its models."""
    from ..inference.http import base_url, with_version
    from ..inference.ollama import host_url

    match provider:
        case "ollama":
            base = base_url(host_url(base))
            return base, f"{base}/api/tags"
        case "llama-stack":
            base = base_url(base).removesuffix("/v1")
            return base, f"{base}/v1/models"
        case _:
            base = with_version(base)
            return base, f"{base}/models"


def _why(error: Exception) -> str:
    import httpx

    match error:
        case httpx.ConnectError():
            return "nothing listens there"
        case httpx.TimeoutException():
            return f"no answer within {PROBE_SECONDS:g} s"
        case _:
            return type(error).__name__


def _names(body: bytes) -> list[str]:
    """The models' names in any of the three listings."""
    import json

    try:
        listing = json.loads(body)
    except ValueError:
        return []
    rows = listing.get("data", listing.get("models")) if isinstance(listing, dict) else None
    named = [
        row.get("identifier") or row.get("id") or row.get("name")
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict)
    ]
    return [name for name in named if isinstance(name, str)]


def _default(endpoints: list[dict[str, Any]]) -> dict[str, Any]:
    """What runs when no model is named, whether it can, and what to do."""
    from ..agent import DEFAULT_MODEL
    from ..paths import data_dir

    model = os.environ.get("AGENTIC_MODEL") or DEFAULT_MODEL
    provider, _, name = model.partition("/")
    try:
        problem, note = _local(name) if provider == "local" else _remote(provider, model, endpoints)
    except AgenticError as error:
        problem, note = str(error), ""
    if not problem and not _writable(data_dir()):
        problem = f"Sessions cannot be kept in {data_dir()}. Name another folder in AGENTIC_DATA_DIR."
    return {"model": model, "runs": not problem, "problem": problem, "note": note}


def _local(name: str) -> tuple[str, str]:
    from ..inference.local import resolve
    from ..models import EMBEDDING_MODEL, find, located, offline

    described = resolve(name)
    if missing := [package for package, version in _extras().get("local", {}).items() if not version]:
        return f"It needs {', '.join(missing)}. Run: pip install 'agentic[local]'", ""
    if isinstance(described, Path):
        return "", "a file"
    wanted = [described, find(EMBEDDING_MODEL)] if described.tool_strategy == "routed" else [described]
    absent = [model for model in wanted if located(model) is None]
    if not absent:
        return "", "in the cache"
    names = " ".join(model.name for model in absent)
    if offline():
        return f"It is not in the cache, and AGENTIC_OFFLINE is set. With a network: agentic models pull {names}", ""
    return "", f"fetched at its first use ({sum(model.size for model in absent) / 1e6:.0f} MB)"


def _remote(provider: str, model: str, endpoints: list[dict[str, Any]]) -> tuple[str, str]:
    from ..inference import connect

    connect(model)
    found = next((endpoint for endpoint in endpoints if endpoint["provider"] == provider), None)
    if found is None:
        return "", "not probed"
    if not found["answers"]:
        return f"{found['url']}: {found['problem']}. Start it, or name another model in AGENTIC_MODEL.", ""
    return "", f"{found['url']} answers"
