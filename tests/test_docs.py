"""What the README and docs/ show is true: every block runs, every link leads somewhere, every name is exported.

How a page's fenced blocks are read, in order, in one folder of the page's own:

- `python` runs, all in one namespace; `sh` runs; a `text` block that follows directly is what it prints.
- `console` runs each line after `$ `; the lines below it are what it prints, and are compared if there are any.
- `...` in expected output stands for anything. Spaces and line ends count as one space.
- A file name after the language (`yaml run.yaml`) writes the block to that file instead.
- `no-run: REASON` after the language checks only the syntax. The reasons are few: see `REASONS`.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import json
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PACKAGES = ["agentic", "agentic.types", "agentic_tools", "agentic_memory", "agentic_shields"]

RUN = {"python", "sh", "console"}
SHOWN = {"text", "mermaid", "yaml"}
REASONS = {"installs", "needs a key", "needs a server", "needs a large model"}
INSTALLERS = ("./do ", "apt-get ", "git ", "make ", "pip ", "uv ")
SECONDS = 100


@dataclass(frozen=True)
class Block:
    """One fenced block: where it is, what stands after the backticks, what is inside."""

    page: Path
    line: int
    language: str
    mark: str
    text: str
    output: str | None = None

    @property
    def reason(self) -> str | None:
        return self.mark.removeprefix("no-run:").strip() if self.mark.startswith("no-run") else None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """A page's blocks; a `text` block right after one that runs becomes its output."""
    found: list[Block] = []
    end = 0
    source = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^([ >]*)```(\S*)[ \t]*(.*)\n((?:.*\n)*?)\1```[ \t]*$", source, re.MULTILINE):
        _, language, mark, text = match.groups()
        text = textwrap.dedent(text)
        if language == "text" and found and found[-1].language in RUN and not source[end : match.start()].strip():
            last = found.pop()
            found.append(Block(last.page, last.line, last.language, last.mark, last.text, output=text))
        else:
            found.append(Block(page, source.count("\n", 0, match.start()) + 1, language, mark.strip(), text))
        end = match.end()
    return found


def check_output(block: Block, expected: str, printed: str) -> None:
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    same = doctest.OutputChecker().check_output(expected.rstrip() + "\n", printed.rstrip() + "\n", options)
    assert same, f"{block} shows\n{expected}\nbut this is printed:\n{printed}"


def shell(block: Block, script: str) -> str:
    """Runs a script as a reader would, with this environment's commands on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"}
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{block}: {script!r} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with the output shown below it."""
    assert block.text.startswith("$ "), f"{block}: a console block starts with `$ `; use sh for a script."
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines(keepends=True)
        head = next(index for index, line in enumerate(lines, 1) if not line.endswith("\\\n"))
        yield "".join(lines[:head]), "".join(lines[head:])


def run_python(block: Block, namespace: dict[str, object]) -> None:
    code = compile("\n" * block.line + block.text, str(block.page), "exec")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, namespace)
    if block.output is not None:
        check_output(block, block.output, printed.getvalue())


def run_shell(block: Block) -> None:
    if block.language == "console":
        for command, expected in commands(block):
            printed = shell(block, command)
            if expected.strip():
                check_output(block, expected, printed)
    else:
        printed = shell(block, block.text)
        if block.output is not None:
            check_output(block, block.output, printed)


def check_syntax(block: Block) -> None:
    if block.language == "python":
        compile(block.text, str(block), "exec")
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "toml":
        tomllib.loads(block.text)
    elif block.language in RUN:
        script = block.text if block.language == "sh" else "".join(command for command, _ in commands(block))
        subprocess.run(["sh", "-n", "-c", script], check=True, timeout=SECONDS)
    else:
        assert block.language in SHOWN, f"{block}: {block.language!r} is not among the languages that are checked."


def run_page(page: Path, module: ModuleType) -> None:
    for block in blocks(page):
        if block.mark and block.reason is None:
            Path(block.mark).write_text(block.text, encoding="utf-8")
        elif block.reason is not None or block.language not in RUN:
            check_syntax(block)
        elif block.language == "python":
            run_python(block, module.__dict__)
        else:
            run_shell(block)


@pytest.fixture
def page_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The namespace of a page: a module in a folder of its own, where the page's files go beside the examples."""
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / ".venv").symlink_to(sys.prefix)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_runs(page: Path, page_module: ModuleType) -> None:
    run_page(page, page_module)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_block_that_is_not_run_has_a_good_reason(page: Path) -> None:
    for block in blocks(page):
        if block.reason is None:
            continue
        assert block.language in RUN, f"{block}: only what would run can be kept from it."
        assert block.reason in REASONS, f"{block}: {block.reason!r} is none of {sorted(REASONS)}."
        if block.reason == "installs":
            lines = [line.removeprefix("$ ") for line in block.text.splitlines()]
            assert all(line.startswith(INSTALLERS) for line in lines), f"{block} does more than to install."


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{page.name} links to {target}, which is not there."
        assert not anchor or anchor in slugs(file), f"{page.name} links to {target}, but there is no such heading."


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_files_and_tests_that_are_named_exist(page: Path) -> None:
    folders = "agentic|benchmarks|docs|examples|memory|requirements|shields|tests|tools"
    named = re.findall(rf"`((?:{folders})/[\w./*-]*)(?:::(\w+))?`", page.read_text(encoding="utf-8"))
    for name, function in named:
        files = list(ROOT.glob(name))
        assert files, f"{page.name} names {name}, which is not there."
        if function:
            assert f"def {function}(" in files[0].read_text(encoding="utf-8"), f"{name} has no {function}."


@pytest.mark.parametrize("package", PACKAGES)
def test_all_names_exactly_what_is_exported(package: str) -> None:
    module = importlib.import_module(package)
    declared = list(getattr(module, "__all__", []))
    assert len(declared) == len(set(declared))
    assert [name for name in declared if not hasattr(module, name)] == []
    public = {name for name, value in vars(module).items() if name[0] != "_" and not isinstance(value, ModuleType)}
    assert public - {"annotations", "TYPE_CHECKING"} <= set(declared)


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lists = [
        project["build-system"]["requires"],
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
    ]
    wanted = {re.split(r"[<>=~!\[; ]", requirement)[0] for names in lists for requirement in names}
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (`.*) \|$", page, re.MULTILINE)
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    assert {row[0].strip("`") for row in rows} == wanted
    assert all(len(row) == 4 and all(row) for row in rows), "A dependency without reason, licence or maintainer."


# What the rules above rest on.


def test_blocks_are_read_as_the_rules_say(tmp_path: Path, page_module: ModuleType) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        textwrap.dedent("""\
        ```python greeting.py
        def greet(name: str) -> str:
            return f"Hello {name}"
        ```
        ```python
        import greeting
        print(greeting.greet("you")); print(__name__)
        ```

        ```text
        Hello you
        p...
        ```
        - nested:
          ```console
          $ python -c 'import greeting; print(greeting.greet("all"))'
          Hello ...
          $ true \\
            && test -f greeting.py
          ```
        ```sh no-run: needs a key
        exit 1
        ```
        """),
        encoding="utf-8",
    )
    assert [(block.language, block.line, block.reason) for block in blocks(page)] == [
        ("python", 1, None),
        ("python", 5, None),
        ("console", 15, None),
        ("sh", 21, "needs a key"),
    ]
    run_page(page, page_module)


@pytest.mark.parametrize(
    "text",
    [
        "```python\nprint(1)\n```\n```text\n2\n```\n",
        "```python\n1 / 0\n```\n",
        "```console\n$ echo a\nb\n```\n",
        "```sh\nfalse\n```\n",
        "```py\nprint(1)\n```\n",
        "```python no-run: needs a key\n1 +\n```\n",
        "```json\n{\n```\n",
    ],
)
def test_a_page_that_lies_is_found_out(text: str, tmp_path: Path, page_module: ModuleType) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises((AssertionError, ArithmeticError, SyntaxError, ValueError)):
        run_page(page, page_module)
