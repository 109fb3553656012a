"""`./do` where it cannot do its work: it says what is missing. Where it can, it is what CI runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A clone on a machine with a shell and nothing else: no uv, and a Python only if a test adds one."""
    shutil.copy(ROOT / "do", tmp_path)
    (tmp_path / "bin").mkdir()
    for name in ("sh", "dirname", "cat", "grep", "cksum"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    return tmp_path


def do(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [folder / "do", *arguments],
        env={"PATH": str(folder / "bin"), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def add_python(folder: Path, body: str) -> None:
    python = folder / "bin" / "python3"
    python.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    python.chmod(0o755)


def test_help_names_every_target(bare: Path) -> None:
    shown = do(bare)
    assert shown.returncode == 0
    script = (ROOT / "do").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+)\)", script, re.MULTILINE))
    assert set(re.findall(r"^\./do ([a-z]+)", shown.stdout, re.MULTILINE)) == targets
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(re.findall(r"\w+", re.findall(r"^\.PHONY:(.*)", makefile, re.MULTILINE)[0])) == targets


def test_an_unknown_target_is_refused(bare: Path) -> None:
    refused = do(bare, "dance")
    assert refused.returncode == 1
    assert "There is no target 'dance'." in refused.stderr


def test_without_python_it_says_what_to_install(bare: Path) -> None:
    failed = do(bare, "demo")
    assert failed.returncode == 1
    assert "Python 3.11 or newer is needed" in failed.stderr
    assert "apt-get install python3-venv" in failed.stderr
    assert not (bare / ".venv").exists()


def test_an_old_python_does_not_count(bare: Path) -> None:
    add_python(bare, "exit 1")
    failed = do(bare, "demo", PYTHON="python3")
    assert failed.returncode == 1
    assert "Python 3.11 or newer is needed; tried: python3." in failed.stderr


def test_without_venv_it_says_what_to_install(bare: Path) -> None:
    add_python(bare, 'case "$2" in *ensurepip*) exit 1 ;; esac')
    failed = do(bare, "test")
    assert failed.returncode == 1
    assert "python3 cannot make a virtual environment" in failed.stderr
    assert "apt-get install python3-venv" in failed.stderr


def test_a_failed_installation_is_not_taken_for_a_good_one(bare: Path) -> None:
    (bare / "requirements").mkdir()
    (bare / "requirements" / "run.txt").touch()
    (bare / "pyproject.toml").touch()
    for name in ("mkdir", "cp"):
        (bare / "bin" / name).symlink_to(shutil.which(name) or name)
    make_environment = 'mkdir -p .venv/bin; cp "$0" .venv/bin/python'
    add_python(bare, f'case "$*" in "-m venv"*) {make_environment} ;; "-m pip --disable"*) exit 3 ;; esac')
    for _ in range(2):
        failed = do(bare, "demo")
        assert failed.returncode == 3
        assert "Installing requirements/run.txt" in failed.stderr
        assert not list(bare.glob(".venv/*.installed"))
