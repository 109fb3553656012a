"""What `/openapi.json` says is true of whatever anybody sends: no 5xx, and no answer that is not in it.

`AGENTIC_TEST_EXAMPLES=500` makes the run long.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from agentic.config import BankConfig, Config, ServerConfig
from agentic.stack import Stack
from agentic.testing import ScriptedModel

from ..serving import served

EXAMPLES = int(os.environ.get("AGENTIC_TEST_EXAMPLES", "2"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


class Endless(ScriptedModel):
    """Says the same to everybody."""

    async def generate(self, prepared: Any) -> Any:
        yield "Hello"


@pytest.fixture(scope="module")
def schema() -> Iterator[Any]:
    config = Config(store=None, toolgroups=["builtin::rag"], banks={"docs": BankConfig(kind="keyword")})
    with served(Stack(config, models={"m": Endless()}), settings=ServerConfig(port=0, drain_seconds=1)) as server:
        yield schemathesis.openapi.from_url(f"{server.url}/openapi.json")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_operation_answers_as_documented(schema: Any) -> None:
    wrong: list[str] = []
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            derandomize="AGENTIC_TEST_EXAMPLES" not in os.environ,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(case=operation.as_strategy())
        def one(case: Any) -> None:
            case.call_and_validate(checks=CHECKS, timeout=20)

        try:
            one()
        except Exception as error:
            wrong.append(f"{operation.method.upper()} {operation.path}: {error}")
    assert not wrong, "\n\n".join(wrong)
