"""How pydantic tells the members of a union apart, said without importing pydantic.

Importing its schema machinery takes as long as all the rest of `import agentic`, and a program that only builds an
agent may never need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True, slots=True)
class TaggedBy:
    """In `Annotated[A | B, TaggedBy("kind")]`: the field whose value names the member."""

    field: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic import Field

        return handler(Annotated[source, Field(discriminator=self.field)])
