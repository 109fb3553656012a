"""Where this package keeps things on the user's machine; each folder can be moved by an environment variable."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs


def data_dir() -> Path:
    """Sessions and banks: `AGENTIC_DATA_DIR`, or the user's data folder."""
    return _dir("AGENTIC_DATA_DIR", platformdirs.user_data_dir)


def cache_dir() -> Path:
    """Models and other things that can be fetched again: `AGENTIC_CACHE_DIR`, or the user's cache folder."""
    return _dir("AGENTIC_CACHE_DIR", platformdirs.user_cache_dir)


def config_dir() -> Path:
    """Settings: `AGENTIC_CONFIG_DIR`, or the user's configuration folder."""
    return _dir("AGENTIC_CONFIG_DIR", platformdirs.user_config_dir)


def _dir(variable: str, default: Callable[[str], str]) -> Path:
    chosen = os.environ.get(variable)
    return Path(chosen).expanduser() if chosen else Path(default("agentic"))
