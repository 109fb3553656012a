"""Llama Guard 3: 14 hazard categories, custom ones, text and images."""

from .categories import CATEGORIES, KNOWN, Category, Size
from .shield import LlamaGuard, llama_guard

__all__ = ["CATEGORIES", "KNOWN", "Category", "LlamaGuard", "Size", "llama_guard"]
