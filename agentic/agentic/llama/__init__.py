"""The Llama prompt codec."""

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
    "Tokenizer",
    "ToolFormat",
    "code_result",
    "encode",
]
