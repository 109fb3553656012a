"""Shields."""
