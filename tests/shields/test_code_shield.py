from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from agentic.protocols import Shield
from agentic.types import AssistantMessage, ConfigError, InvalidInput, ToolCall, UserMessage, Verdict
from agentic_shields import CodeShield


@pytest.fixture(scope="module")
def shield() -> CodeShield:
    return CodeShield()


def check(shield: CodeShield, code: Any, tool: str = "code_interpreter") -> Verdict:
    return asyncio.run(shield.check([UserMessage("Go."), AssistantMessage("", (ToolCall(tool, {"code": code}, "c"),))]))


@pytest.mark.parametrize(
    "code",
    [
        "eval(input())",
        "exec(text)",
        "import os\nos.system('ls')",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "from subprocess import run as r\nr(cmd, shell=True)",
        "import pickle\npickle.loads(data)",
        "def f():\n    return eval('1')  # nosec",
    ],
)
def test_dangerous_code_is_blocked(shield: CodeShield, code: str) -> None:
    assert isinstance(shield, Shield)
    verdict = check(shield, code)
    assert verdict.blocked
    assert verdict.violation
    assert verdict.violation.metadata["rules"]


def test_usual_code_passes(shield: CodeShield) -> None:
    code = "import math, random, hashlib\nprint(math.pi, random.random(), hashlib.md5(b'x').hexdigest())\nassert True"
    assert check(shield, code).violation is None


def test_code_that_is_no_python_passes_with_a_note(shield: CodeShield) -> None:
    for code in ("def f(:", "hello there", "x = '\0'"):
        verdict = check(shield, code)
        assert verdict.violation is None
        assert "No Python" in verdict.raw


@pytest.mark.parametrize("code", ["(" * 300 + ")" * 300, "-" * 50_000 + "1", "a" + ".b" * 5_000, "x" * 200_001])
def test_huge_and_deep_code_is_not_judged(shield: CodeShield, code: str) -> None:
    with pytest.raises(InvalidInput):
        check(shield, code)


def test_arguments_that_hold_no_code_are_left_alone(shield: CodeShield) -> None:
    for code in (None, 3, [0], {"text": 1}, "", "\ud800"):
        assert check(shield, code).violation is None
    assert asyncio.run(shield.check([UserMessage("eval(x)")])).violation is None


@pytest.mark.parametrize("code", [["x = 1", "eval(x)"], {"text": "eval(x)"}, [{"source": ["eval(x)"]}]])
def test_code_is_found_however_deep_it_stands(shield: CodeShield, code: Any) -> None:
    assert check(shield, code).blocked
    call = ToolCall("notebook", {"cells": [{"code": code}], "note": "eval(x)"}, "c")
    verdict = asyncio.run(shield.check([AssistantMessage("", (call,))]))
    assert verdict.raw.count("B307") == 1


def test_tools_levels_and_rules_can_be_chosen() -> None:
    picky = CodeShield("warn", severity="low", tools=["python"])
    assert check(picky, "eval(x)").violation is None
    warned = check(picky, "assert x", "python")
    assert warned.violation
    assert not warned.blocked
    assert check(CodeShield(allow=["B307"]), "eval(x)").violation is None


def test_a_bandit_that_finds_nothing_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from bandit.core import tester

    monkeypatch.setattr(tester.BanditTester, "run_tests", lambda *_: {"SEVERITY": [0] * 4, "CONFIDENCE": [0] * 4})
    with pytest.raises(ConfigError, match="self-test"):
        CodeShield()


def test_a_rule_that_fails_is_no_permission(shield: CodeShield, monkeypatch: pytest.MonkeyPatch) -> None:
    from bandit.core import tester

    def broken(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(tester.BanditTester, "run_tests", broken)
    with pytest.raises(InvalidInput):
        check(shield, "print(1)")


def test_without_bandit_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bandit.core", None)
    with pytest.raises(ConfigError, match="code-shield"):
        CodeShield()


def test_code_is_judged_by_many_at_once(shield: CodeShield) -> None:
    async def many() -> list[Verdict]:
        def call(n: int) -> AssistantMessage:
            return AssistantMessage("", (ToolCall("python", {"code": "eval(x)" if n % 2 else "print(1)"}, "c"),))

        return await asyncio.gather(*(shield.check([call(n)]) for n in range(12)))

    assert [verdict.blocked for verdict in asyncio.run(many())] == [False, True] * 6


@pytest.mark.parametrize("options", [{"action": "x"}, {"severity": "x"}, {"on_error": "x"}, {"tools": "x"}])
def test_senseless_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        CodeShield(**options)
