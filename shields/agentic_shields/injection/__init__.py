"""Prompt injection: the embedded shield, and classifiers."""

from .classifier import PromptGuard
from .finding import Finding
from .shield import Action, InjectionShield

__all__ = ["Action", "Finding", "InjectionShield", "PromptGuard"]
