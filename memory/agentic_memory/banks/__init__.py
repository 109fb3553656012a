"""The banks that find without vectors: by key, by words, and along relations."""

from .graph import GraphBank, Relation
from .keyvalue import KeyValueBank
from .keyword import KeywordBank

__all__ = ["GraphBank", "KeyValueBank", "KeywordBank", "Relation"]
