"""From files, folders and addresses to chunks: `expand` finds documents, `parse` reads them, `chunks` cuts them."""

from .cutting import chunks
from .parsing import Workers, parse
from .sources import Failure, expand

__all__ = ["Failure", "Workers", "chunks", "expand", "parse"]
