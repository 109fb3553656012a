"""`python -m agentic.cli` is `agentic`."""

from .app import main

main()
