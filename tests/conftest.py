"""What every test gets: folders of its own, and the asyncio backend for async tests."""

from __future__ import annotations

from pathlib import Path

import pytest

KEYS = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "RAW_BASE_URL", "RAW_API_KEY", "OLLAMA_HOST", "LLAMA_STACK_BASE_URL")


@pytest.fixture
def anyio_backend() -> str:
    """Async tests (`@pytest.mark.anyio`) run on asyncio."""
    return "asyncio"


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's sessions or settings, nor sees the machine's endpoints and keys.

    Models are shared (`AGENTIC_CACHE_DIR` stays): they are large, and checked by their hash.
    """
    monkeypatch.setenv("AGENTIC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("AGENTIC_CONFIG_DIR", str(tmp_path / "config"))
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
