"""The Python that runs the code: where it lies, and packages that are wanted beside its own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from agentic.paths import cache_dir
from agentic.types.errors import ConfigError

_ASK = """
import json, os, site, sys, sysconfig
paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")] + site.getsitepackages()
if sys.base_prefix != "/usr":
    paths.append(os.path.join(sys.base_prefix, "lib"))
    paths.append(os.path.join(sys.base_prefix, "share", "zoneinfo"))
programs = [sys.executable, os.path.realpath(sys.executable), os.path.join(sys.prefix, "pyvenv.cfg")]
print(json.dumps([list(sys.version_info[:2]), paths, programs]))
"""
_SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"),
    *("/usr/share/zoneinfo", "/usr/share/fonts", "/etc/ld.so.cache"),
)
_ASK_SECONDS, _INSTALL_SECONDS = 30, 600


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python installation.

    Attributes:
        python: The interpreter.
        readable: The files and folders that code may read: libraries, and nothing that is somebody's own.
        programs: What is needed besides to start it.
        path: Folders of extra packages, for `sys.path`.
    """

    python: str
    readable: tuple[str, ...]
    programs: tuple[str, ...]
    path: tuple[str, ...] = ()


@lru_cache(maxsize=16)
def environment(python: str | None = None, packages: tuple[str, ...] = ()) -> Environment:
    """Finds out where an interpreter lies, and installs what it lacks.

    Raises:
        ConfigError: It does not run, is too old, or a package cannot be installed.
    """
    chosen = shutil.which(python or sys.executable)
    if chosen is None:
        raise ConfigError(f"There is no Python at {python!r}.")
    chosen = os.path.abspath(chosen)  # noqa: PTH100 - a virtual environment's link must stay a link
    try:
        answer = subprocess.run(  # noqa: S603
            [chosen, "-I", "-c", _ASK], env={}, capture_output=True, timeout=_ASK_SECONDS, check=True
        )
        version, paths, programs = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise ConfigError(f"{chosen} does not run as a Python: {error}.") from None
    if version < [3, 11]:
        raise ConfigError(f"{chosen} is Python {version[0]}.{version[1]}; the code interpreter needs 3.11 or later.")
    chosen = programs[0] or chosen  # a version manager's script on the PATH could not start it in the jail
    extra = (str(_installed(chosen, packages)),) if packages else ()
    readable = dict.fromkeys(path for path in (*extra, *paths, *_SYSTEM) if Path(path).exists())
    return Environment(chosen, tuple(readable), tuple(path for path in programs if Path(path).exists()), extra)


def _installed(python: str, packages: Sequence[str]) -> Path:
    """A folder with the packages, made once for each list of them."""
    key = hashlib.sha256(json.dumps([python, sorted(packages)]).encode()).hexdigest()[:16]
    folder = cache_dir() / "code_interpreter" / key
    if folder.exists():
        return folder
    partial = folder.with_name(f"{key}.{os.getpid()}")
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(partial)]
    try:
        done = subprocess.run(  # noqa: S603
            [*command, "--", *packages], capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
            raise ConfigError(f"{', '.join(packages)} cannot be installed: {reason}")
        partial.replace(folder)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{', '.join(packages)} cannot be installed: {error}.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder
