"""Memory banks."""
