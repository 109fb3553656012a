"""The child of `parsing`: reads documents from stdin, one after another, and writes what is in them to stdout."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from typing import Any

from agentic.types.errors import AgenticError, ConfigError

from ..types import Document, Parsed
from .formats import mime_type_of, read

_MEMORY = 3 * 1024**3
"""The address space of a worker, in bytes."""
_GRACE = 5


def main() -> None:
    """Serves until stdin ends. What a parser prints goes to stderr: stdout belongs to the answers."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit_memory()
    for line in sys.stdin.buffer:
        order = json.loads(line)
        body = sys.stdin.buffer.read(order["size"])
        if hasattr(signal, "setitimer"):  # should the parent die, this process does not outlive its order
            signal.setitimer(signal.ITIMER_REAL, order["seconds"] + _GRACE)
        answer = json.dumps(_answer(order, body)).encode()
        answers.write(len(answer).to_bytes(8, "big") + answer)
        answers.flush()


def _answer(order: dict[str, Any], body: bytes) -> dict[str, Any]:
    content = body.decode() if order["text"] else body
    document = Document(content=content, source=order["source"], mime_type=order["mime_type"])
    try:
        return _as_data(read(document, mime_type_of(document)))
    except AgenticError as error:
        kind = "ConfigError" if isinstance(error, ConfigError) else "InvalidInput"
        return {"error": kind, "message": error.message, "hint": error.hint}
    except MemoryError:
        message = f"it needs more than {_MEMORY // 1024**3} GiB of memory to be read."
        return {"error": "InvalidInput", "message": message, "hint": "Split it, or simplify it."}
    except RecursionError:
        return {"error": "InvalidInput", "message": "it is nested too deeply.", "hint": "Flatten it."}
    except Exception as error:
        message = f"it is broken, or no file of its kind ({type(error).__name__}: {str(error)[:300]})."
        return {"error": "InvalidInput", "message": message, "hint": "Save it anew with another program."}


def _as_data(parsed: Parsed) -> dict[str, Any]:
    blocks = [
        (block.start, block.start + len(block.text), block.kind, block.page, block.headings) for block in parsed.blocks
    ]
    return {"text": parsed.text, "blocks": blocks, "title": parsed.title, "metadata": dict(parsed.metadata)}


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):  # not on every system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    main()
