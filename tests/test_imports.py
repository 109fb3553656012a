"""The house has floors, and imports run down the stairs only."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "agentic" / "agentic"
PARTS = {
    "agentic_tools": ROOT / "tools" / "agentic_tools",
    "agentic_memory": ROOT / "memory" / "agentic_memory",
    "agentic_shields": ROOT / "shields" / "agentic_shields",
}

# A new module of the core must be given its floor here. `agentic` is the package's own `__init__`: the face.
FLOORS = {
    "types": 1,
    "collector": 1,
    "paths": 1,
    "threads": 1,
    "protocols": 2,
    "llama": 2,
    "plugins": 2,
    "keys": 2,
    "net": 2,
    "portal": 2,
    "approvals": 2,
    "budget": 2,
    "stream": 2,
    "turn": 3,
    "tool": 4,
    "isolation": 3,
    "isolated": 5,
    "models": 3,
    "store": 3,
    "inference": 3,
    "execution": 4,
    "prompts": 4,
    "history": 4,
    "outlet": 2,
    "shield": 3,
    "judging": 3,
    "safeguard": 4,
    "journal": 4,
    "context": 4,
    "recall": 4,
    "learning": 4,
    "setup": 4,
    "orchestrator": 4,
    "toolbox": 5,
    "answers": 5,
    "agent": 5,
    "session": 5,
    "replay": 5,
    "retention": 5,
    "transfer": 5,
    "stack": 5,
    "config": 5,
    "testing": 5,
    "agentic": 5,
    "__main__": 6,
    "cli": 6,
    "server": 6,
}
FACE = 5
# On one floor, who may still import whom.
NEIGHBOURS = {
    "__main__": {"cli"},
    "inference": {"models"},
    "protocols": {"keys"},
    "execution": {"tool"},
    "context": {"recall"},
    "history": {"context", "recall"},
    "journal": {"history"},
    "safeguard": {"journal", "recall", "setup"},
    "learning": {"history"},
    "setup": {"context", "recall"},
    "orchestrator": {"context", "execution", "journal", "recall", "safeguard", "setup"},
    "session": {"answers", "replay"},
    "agent": {"answers", "session", "toolbox"},
    "stack": {"agent", "config"},
    "cli": {"server"},
    "agentic": {"agent", "answers", "session", "stack", "config", "testing"},
}

HEAVY = {
    *(
        "PIL",
        "bandit",
        "click",
        "faiss",
        "fastapi",
        "llama_models",
        "llama_stack_client",
        "mcp",
        "numpy",
        "onnxruntime",
        "pandas",
    ),
    *(
        "presidio_analyzer",
        "rich",
        "spacy",
        "sqlalchemy",
        "starlette",
        "tavily",
        "tiktoken",
        "tokenizers",
        "wolframalpha",
        "xllamacpp",
    ),
}


def imports(file: Path, package: Path) -> Iterator[tuple[int, str]]:
    """The line and the absolute, dotted name of each module or name that a file imports, at whatever depth."""
    inside = (package.name, *file.relative_to(package).parent.parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = inside[: len(inside) - node.level + 1] if node.level else ()
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{origin}.{alias.name}"


def room(name: str) -> str:
    """The part of the core that a dotted name starting with `agentic` belongs to."""
    second = name.split(".")[1] if "." in name else ""
    return second if second in FLOORS else "agentic"


def sources(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def where(file: Path, line: int) -> str:
    return f"{file.relative_to(ROOT)}:{line}"


def test_the_core_imports_downwards_only() -> None:
    modules = {path.relative_to(CORE).parts[0].removesuffix(".py") for path in sources(CORE)} - {"__init__"}
    assert modules - FLOORS.keys() == set(), "Give each of these its floor in FLOORS."
    wrong = []
    for file in sources(CORE):
        here = file.relative_to(CORE).parts[0].removesuffix(".py").replace("__init__", "agentic")
        for line, name in imports(file, CORE):
            if name.split(".")[0] != "agentic" or (there := room(name)) == here:
                continue
            if FLOORS[there] >= FLOORS[here] and there not in NEIGHBOURS.get(here, ()):
                wrong.append(f"{where(file, line)}: {here} imports {there}")
    assert not wrong, "\n".join(wrong)


def test_the_core_knows_no_part_by_name() -> None:
    wrong = []
    for file in sources(CORE):
        wrong += [where(file, line) for line, name in imports(file, CORE) if name.split(".")[0] in PARTS]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and re.fullmatch(rf"({'|'.join(PARTS)})([.:].*)?", str(node.value)):
                wrong.append(where(file, node.lineno))
    assert not wrong, "Built-ins are found by their entry points: " + ", ".join(wrong)


def test_the_parts_stand_on_the_face_and_not_on_each_other() -> None:
    wrong = []
    for part, package in PARTS.items():
        for file in sources(package):
            for line, name in imports(file, package):
                top = name.split(".")[0]
                above = top == "agentic" and FLOORS[room(name)] > FACE
                if above or (top in PARTS and top != part):
                    wrong.append(f"{where(file, line)}: {name}")
    assert not wrong, "\n".join(wrong)


def test_the_llama_codec_does_no_io() -> None:
    names = {name.split(".")[0] for file in sources(CORE / "llama") for _, name in imports(file, CORE)}
    assert not names & {"asyncio", "anyio", "socket", "subprocess", "httpx", "sqlalchemy"}


@pytest.mark.parametrize("package", ["agentic", *PARTS])
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    script = f"import sys, {package}; print(*sorted(sys.modules.keys() & {HEAVY!r}))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert loaded.stdout.split() == []


# What the rules above rest on.


def test_imports_are_read_at_any_depth_and_made_absolute(tmp_path: Path) -> None:
    package = tmp_path / "agentic"
    (package / "store").mkdir(parents=True)
    file = package / "store" / "log.py"
    file.write_text(
        "import a.b\ndef f():\n    from . import engine\n    from ..types import x\n    from ..cli.main import y\n"
    )
    found = [name for _, name in imports(file, package)]
    assert found == ["a.b", "agentic.store.engine", "agentic.types.x", "agentic.cli.main.y"]
    top = package / "__init__.py"
    top.write_text("from .agent import Agent\nfrom . import testing\n")
    assert [name for _, name in imports(top, package)] == ["agentic.agent.Agent", "agentic.testing"]
    assert [room(name) for name in ("agentic", "agentic.Agent", "agentic.store.log")] == ["agentic", "agentic", "store"]
