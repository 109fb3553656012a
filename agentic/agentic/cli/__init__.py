"""The command `agentic`: thin, with no logic of its own. Everything heavy is imported by the command that needs it."""

from .app import app, main

__all__ = ["app", "main"]
