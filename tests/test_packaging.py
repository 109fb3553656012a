"""What users install: the wheel, the source distribution, and the pinned requirements."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = {
    "agentic": ROOT / "agentic" / "agentic",
    "agentic_tools": ROOT / "tools" / "agentic_tools",
    "agentic_memory": ROOT / "memory" / "agentic_memory",
    "agentic_shields": ROOT / "shields" / "agentic_shields",
}


def execute(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution. Nothing is fetched: hatchling is in this environment."""
    folder = tmp_path_factory.mktemp("dist")
    execute(sys.executable, "-m", "hatchling", "build", "-d", folder, "-t", "sdist", "-t", "wheel")
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


def sources(package: Path) -> Iterator[str]:
    for path in package.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"{package.name}/{path.relative_to(package).as_posix()}"


@pytest.mark.slow
def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert inside == {name for package in PACKAGES.values() for name in sources(package)}
    assert {f"{name}/py.typed" for name in PACKAGES} <= inside


@pytest.mark.slow
def test_the_source_distribution_builds_the_same_wheel(built: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path)  # our own archive; `filter` came with Python 3.11.4
    (source,) = tmp_path.iterdir()
    assert {"LICENSE", "README.md", "CHANGELOG.md", "tests", "docs"} <= {path.name for path in source.iterdir()}
    assert not (source / ".venv").exists()
    again = tmp_path / "again"
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", again, "-t", "wheel"],
        cwd=source,
        check=True,
        capture_output=True,
        timeout=100,
    )
    assert next(again.glob("*.whl")).read_bytes() == wheel.read_bytes()


@pytest.mark.slow
def test_the_wheel_works_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    """The dependencies come from this environment's folder; its editable install of this very project does not."""
    fresh = tmp_path / "fresh"
    venv.create(fresh, with_pip=False, symlinks=os.name != "nt")
    scripts = fresh / ("Scripts" if os.name == "nt" else "bin")
    execute(
        sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--no-deps", "--no-index", "-q", wheel
    )
    site = Path(execute(scripts / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    script = f"import {', '.join(PACKAGES)}; print({', '.join(f'{name}.__file__' for name in PACKAGES)}, sep='\\n')"
    places = execute(scripts / "python", "-I", "-c", script).split()
    assert [Path(place).parent.parent for place in places] == [site] * len(PACKAGES)
    assert "Usage" in execute(scripts / "agentic", "--help")


def test_every_entry_point_leads_somewhere() -> None:
    groups = {group for group in entry_points().groups if group.startswith("agentic.")}
    found = [entry for group in sorted(groups) for entry in entry_points(group=group)]
    found += entry_points(group="console_scripts", name="agentic")
    assert found
    for entry in found:
        assert callable(entry.load()), entry


def pins(name: str) -> dict[str, list[Requirement]]:
    """The pinned requirements of a file, by name: several where they differ between Pythons or systems."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8").replace("\\\n", "")
    found: dict[str, list[Requirement]] = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            pinned, *hashes = re.split(r"\s+--hash=", line.strip())
            requirement = Requirement(pinned)
            assert hashes, f"{requirement.name} has no hash."
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes)
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("run.txt", [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["build"]]),
        (
            "dev.txt",
            [
                *PROJECT["project"]["dependencies"],
                *(one for extra in PROJECT["project"]["optional-dependencies"].values() for one in extra),
                *PROJECT["dependency-groups"]["dev"],
            ],
        ),
    ],
)
def test_the_pins_agree_with_the_project(name: str, wanted: list[str]) -> None:
    pinned = pins(name)
    for requirement in map(Requirement, wanted):
        versions = pinned.get(canonicalize_name(requirement.name), [])
        assert versions, f"{requirement} is not in {name}: run `./do requirements`."
        for pin in versions:
            (exact,) = pin.specifier
            assert exact.operator == "=="
            assert requirement.specifier.contains(Version(exact.version)), f"{pin} is not {requirement}."


def test_what_is_pinned_twice_is_pinned_alike() -> None:
    run, dev = pins("run.txt"), pins("dev.txt")
    for name in run.keys() & dev.keys():
        assert {str(pin.specifier) for pin in dev[name]} <= {str(pin.specifier) for pin in run[name]}, name


def test_the_requirements_name_no_index() -> None:
    for file in (ROOT / "requirements").glob("*.txt"):
        text = file.read_text(encoding="utf-8")
        assert "://" not in text
        assert not re.search(r"^ *--(?!hash)", text, re.MULTILINE)
