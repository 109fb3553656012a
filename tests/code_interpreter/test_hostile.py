"""The hostile programs at each level that works here, as this user and, from root, as an ordinary one."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentic_tools.code_interpreter import CodeInterpreter
from code_interpreter.levels import LEVELS
from code_interpreter.suite import World, failures, hostile_ground, programs

KINDS = sorted({name.partition(".")[0] for name in programs()})
QUICK = ("network", "outside", "process", "read")
AS_ANOTHER = ("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups")
CASES = [pytest.param(kind, marks=[] if kind in QUICK else pytest.mark.slow) for kind in KINDS]
Ground = tuple[CodeInterpreter, World]


@pytest.fixture(scope="module", params=LEVELS)
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    with hostile_ground(request.param) as made:
        yield made


def test_there_are_many_programs() -> None:
    assert len(programs()) >= 300
    assert all(code.strip() for code in programs().values())


@pytest.mark.parametrize("kind", CASES)
def test_nothing_gets_out(ground: Ground, kind: str) -> None:
    assert asyncio.run(failures(*ground, kind)) == {}


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("level", LEVELS)
def test_nothing_gets_out_for_an_ordinary_user(level: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    python = python_for_all()
    if python is None or shutil.which("setpriv") is None:
        pytest.skip("there is no Python that every user may run, or no setpriv")
    folder = Path("/tmp", f"suite-{os.getpid()}")  # the test's own folders are root's
    shutil.copytree(Path(__file__).parent, folder)
    try:
        subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
        done = subprocess.run(
            [*AS_ANOTHER, python, "-B", folder / "suite.py", level, *QUICK, "bomb"],
            env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PATH": os.environ["PATH"]},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    finally:
        shutil.rmtree(folder)


def python_for_all() -> str | None:
    """A Python of this version that does not lie in somebody's home, and can load what lies on this one's path."""
    code = "import shutil, sys, agentic_tools; sys.exit(shutil.which(sys.executable) is None)"
    for candidate in (sys.executable, f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"):
        found = subprocess.run(
            [*AS_ANOTHER, candidate, "-c", code],
            env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            cwd="/",
            capture_output=True,
            check=False,
        )
        if found.returncode == 0:
            return candidate
    return None
