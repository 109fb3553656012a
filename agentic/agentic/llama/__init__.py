"""The Llama prompt codec: `encode` writes a conversation as a prompt, `parse` reads a reply. Nothing here does I/O."""

from .coerce import coerce
from .decode import StreamParser, parse
from .encode import code_result, encode
from .families import Family, ToolFormat
from .prompt import Block, Control, Count, Prompt, Segment
from .tokenizer import Tokenizer

__all__ = [
    "Block",
    "Control",
    "Count",
    "Family",
    "Prompt",
    "Segment",
    "StreamParser",
    "Tokenizer",
    "ToolFormat",
    "code_result",
    "coerce",
    "encode",
    "parse",
]
