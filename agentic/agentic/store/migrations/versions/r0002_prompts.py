"""Prompts and their versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Creates both tables."""
    op.create_table(
        "agentic_prompts",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("latest", sa.BigInteger, nullable=False),
        sa.Column("chosen", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "agentic_prompt_versions",
        sa.Column("name", sa.Text, sa.ForeignKey("agentic_prompts.name"), primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("template", sa.Text, nullable=False),
        sa.Column("variables", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
    )
