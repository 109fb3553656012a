"""MCP servers as toolgroups: `mcp::name` from the configuration, or `MCP(...)` in code."""

from __future__ import annotations

from .group import MCP, toolgroup

__all__ = ["MCP", "toolgroup"]
