"""`python -m agentic`: the same as the command `agentic`."""

from .cli import main

main()
