"""The commands of the MCP servers that tests start."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

GIF = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"
"""What `mcp_tools.py` draws."""
FOLDER = Path(__file__).parent
TOOLS = [sys.executable, "-P", str(FOLDER / "mcp_tools.py")]
"""A good server, written with the SDK; it takes a second to start."""


def rogue(mode: str) -> list[str]:
    """A server that misbehaves in one way."""
    return [sys.executable, "-P", str(FOLDER / "mcp_rogue.py"), mode]


def pids(file: Path) -> list[int]:
    """The processes that left their ids in a file."""
    return [int(line) for line in file.read_text(encoding="utf-8").split()]


def ends(pid: int, seconds: float = 10) -> bool:
    """Whether a process, which need not be a child, has ended after some seconds at the most."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watched], [], [], seconds)[0])
    finally:
        os.close(watched)
