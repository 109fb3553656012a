"""A provider of your own: any class with `model`, `prepare`, `generate` and `aclose` is a model.

    python examples/custom_provider.py

This one asks a program: it writes the prompt to the program's standard input and reads the answer from its standard
output. The program here only repeats the last line in capital letters; put any command in its place.

Expected: HELLO THERE!
Expected: user: Hello there!
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from agentic import Agent
from agentic.protocols import Prepared
from agentic.types import ConnectionFailed, ServerFailed
from agentic.types.sampling import InferenceRequest


@dataclass
class Program:
    """A model behind a command. There is no base class: the protocol is `agentic.protocols.Inference`."""

    command: Sequence[str]
    model: str = "program/shout"

    # `prepare` builds the exact text that will be sent. It is written to the session's log before `generate` is called,
    # so it has to be the whole truth: session.prompt(step) returns this very string.
    # The tools that may be called are in request.tools; this model calls none.
    async def prepare(self, request: InferenceRequest) -> Prepared:
        lines = [f"{message.role}: {message.text}" for message in request.messages]
        return Prepared("\n".join(lines), request)

    # `generate` yields the answer's text as it comes. A provider that reads tool calls or counts tokens yields a
    # `Completion` with the whole message at the end; one that yields only text may leave it out.
    async def generate(self, prepared: Prepared) -> AsyncIterator[str]:
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(*self.command, stdin=pipe, stdout=pipe)
        except OSError as error:
            # Errors say whose fault it is. This kind may be repeated, and is, as long as nothing was shown.
            raise ConnectionFailed(f"{self.command[0]} cannot be started: {error.strerror}.") from error
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(prepared.prompt.encode())
            process.stdin.close()
            while piece := await process.stdout.readline():
                yield piece.decode()
            if await process.wait() != 0:
                raise ServerFailed(f"{self.command[0]} ended with {process.returncode}.")
        finally:
            # A turn that is cancelled or out of time closes this generator: whatever it holds has to end here.
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def aclose(self) -> None:
        """Nothing is kept open between two answers."""


SHOUT = "import sys; print(sys.stdin.read().splitlines()[-1].partition(': ')[2].upper(), end='')"

with Agent(Program([sys.executable, "-c", SHOUT]), store=None) as agent:
    session = agent.session()
    turn = session.run("Hello there!")
    print(turn.text)
    print(session.prompt(turn.steps[0]))
