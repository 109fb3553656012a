"""From files, folders and addresses to chunks: `expand` finds documents, `parse` reads them, `chunks` cuts them."""

from .cutting import Count, chunks
from .parsing import Workers, at_once, parse, parse_here
from .sources import Failure, expand

__all__ = ["Count", "Failure", "Workers", "at_once", "chunks", "expand", "parse", "parse_here"]
