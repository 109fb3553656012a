"""Where keys of web services come from.

In this order: what `given` says for this request, the environment, and what `agentic keys set NAME` stored. A stored
key is a file of its own, readable by its owner only (0600), in the folder `keys` of `paths.config_dir()`; a key is
called as its environment variable is.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from urllib.parse import urlsplit

from .paths import config_dir
from .types.errors import ConfigError, InvalidInput

LONGEST = 4096
"""The longest key taken, in characters."""

_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_GIVEN: ContextVar[Mapping[str, str]] = ContextVar("agentic_keys")
_HEADERS: ContextVar[Mapping[str, Mapping[str, str]]] = ContextVar("agentic_headers")
_LATER: ContextVar[bool] = ContextVar("agentic_keys_later", default=False)


@contextmanager
def given(keys: Mapping[str, str], headers: Mapping[str, Mapping[str, str]] | None = None) -> Iterator[None]:
    """What comes with one request: it wins over all else in the tasks that are started inside.

    Args:
        keys: Keys of web services.
        headers: Headers for MCP servers, by their URLs.
    """
    token = _GIVEN.set({**_GIVEN.get({}), **keys})
    more = _HEADERS.set({**_HEADERS.get({}), **{_place(url): value for url, value in (headers or {}).items()}})
    try:
        yield
    finally:
        _HEADERS.reset(more)
        _GIVEN.reset(token)


@contextmanager
def later() -> Iterator[None]:
    """For what serves many requests, each with keys of its own: inside, none of them is seen, and none is missed."""
    kept, token = _LATER.set(True), _GIVEN.set({})
    try:
        yield
    finally:
        _GIVEN.reset(token)
        _LATER.reset(kept)


def headers_for(url: str) -> Mapping[str, str]:
    """The headers that came with this request for an MCP server; none that came for another one."""
    return _HEADERS.get({}).get(_place(url), {})


def find(*names: str) -> str | None:
    """The first key that is set under one of these names, or None.

    Raises:
        ConfigError: A key holds characters that no key has, or its file can be read by others.
    """
    for source in (_GIVEN.get({}).get, os.environ.get, _stored):
        for name in names:
            if value := (source(name) or "").strip():
                if problem := _problem(value):
                    raise ConfigError(f"{name} {problem}")
                return value
    return None


def need(what: str, *names: str) -> str:
    """The first key that is set under one of these names.

    Args:
        what: What the key is for, as the error names it.
        names: Its names, the usual one first.

    Raises:
        ConfigError: None is set, or the one that is cannot be used.
    """
    if key := find(*names):
        return key
    raise ConfigError(
        f"{what} needs a key, and there is none.",
        hint=f"Set the environment variable {' or '.join(names)}, or run: agentic keys set {names[0]}",
    )


def expect(what: str, *names: str) -> None:
    """Like `need`, but content where keys come with each request (see `later`).

    Raises:
        ConfigError: No key is set, and none will come.
    """
    if not _LATER.get():
        need(what, *names)


class Secrets:
    """The keys, each looked up when it is asked for: `secrets["NAME"]`, or `secrets.get("NAME")` where it may lack."""

    def get(self, name: str) -> str | None:
        """The key, or None; see `find`."""
        return find(name)

    def __getitem__(self, name: str) -> str:
        return need("This tool", name)


def store(name: str, value: str) -> None:
    """Stores a key, in the place of an older one.

    Raises:
        InvalidInput: The name is no environment variable's, or the value is no key.
        ConfigError: It cannot be written.
    """
    file = _file(name)
    value = value.strip()
    if problem := _problem(value):
        raise InvalidInput(f"{name} {problem}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent)  # readable by its owner only
        try:
            with os.fdopen(handle, "w", encoding="ascii") as opened:
                opened.write(value)
            Path(temporary).replace(file)
        except BaseException:
            with suppress(OSError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        raise ConfigError(f"The key cannot be stored in {file.parent}: {error.strerror or error}.") from None


def remove(name: str) -> None:
    """Removes a stored key.

    Raises:
        InvalidInput: The name is no environment variable's.
        ConfigError: No such key is stored, or it cannot be removed.
    """
    file = _file(name)
    try:
        file.unlink()
    except FileNotFoundError:
        raise ConfigError(f"No key is stored under {name}.", hint="agentic keys ls lists them.") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be removed: {error.strerror or error}.") from None


def stored() -> list[str]:
    """The names of all stored keys, sorted."""
    try:
        return sorted(file.name for file in _folder().iterdir() if _NAME.fullmatch(file.name))
    except OSError:
        return []


def _place(url: str) -> str:
    """An address without what does not tell two servers apart."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _folder() -> Path:
    return config_dir() / "keys"


def _file(name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"A key is named like its environment variable, as in TAVILY_API_KEY, not {name[:80]!r}.")
    return _folder() / name


def _stored(name: str) -> str | None:
    file = _file(name)
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(f"{file} can be read by others, so it is not used.", hint=f"Run: chmod 600 {file}")
            return opened.read(LONGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}.") from None


def _problem(value: str) -> str:
    if not value:
        return "is empty."
    if len(value) > LONGEST:
        return f"is longer than {LONGEST} characters: that is no key."
    if not value.isascii() or not value.isprintable() or " " in value:
        return "holds characters that no key has; was it copied with something around it?"
    return ""
