"""The README's seven promises are proved by tests that exist, run by default, and are not skipped."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def promises() -> dict[int, list[tuple[str, str]]]:
    """The tests, as pairs of file and function, that the table names for each promise."""
    rows = re.findall(r"^\| (\d) \|.*\| (.+) \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    return {int(number): re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", proof) for number, proof in rows}


def test_there_are_seven() -> None:
    assert list(promises()) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("number", range(1, 8))
def test_each_promise_is_proved(number: int) -> None:
    proofs = promises()[number]
    assert proofs, "No test is named."
    for file, name in proofs:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        found = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
        ]
        assert len(found) == 1, f"{file} has {len(found)} tests called {name}."
        marks = " ".join(ast.unparse(mark) for mark in found[0].decorator_list)
        assert "skip" not in marks, f"{name} may be skipped."
        assert "xfail" not in marks, f"{name} is expected to fail."
        assert "fuzz" not in marks, f"{name} is left out of the default run."
