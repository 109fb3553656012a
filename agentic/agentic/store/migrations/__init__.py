"""The schema's history: Alembic revisions, run when a store is opened."""
