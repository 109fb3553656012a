"""The embedded models, fetched once through the registry; they stay in the shared cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentic.models import DEFAULT_MODEL, EMBEDDING_MODEL, find, pull


@pytest.fixture(scope="session")
def chat_model() -> Path:
    """The file of SmolLM2-135M-Instruct."""
    return pull(find(DEFAULT_MODEL))


@pytest.fixture(scope="session")
def embedding_model() -> Path:
    """The file of MiniLM-L6-v2."""
    return pull(find(EMBEDDING_MODEL))
