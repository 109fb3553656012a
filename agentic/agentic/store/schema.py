"""The tables, and every statement that runs against them, compiled once for the database at hand.

Statements are built with SQLAlchemy's Core, so that each database gets its own SQL, and run on the driver's cursor:
building a Core result costs more than the whole transaction of an append.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement, ColumnElement
from sqlalchemy.types import Double

from .owner import LEASE_SECONDS

metadata = MetaData()

# The prefix keeps us out of the way of other applications in a shared PostgreSQL database.
sessions = Table(
    "agentic_sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("agent", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("parent", Text, ForeignKey("agentic_sessions.id")),
    Column("parent_seq", BigInteger, nullable=False),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("owner", Text),
    Column("host", Text),
    Column("pid", BigInteger),
    Column("lease_until", Double),
    Index("agentic_sessions_parent", "parent"),
)

# The primary key is a fence too: two writers cannot both have written record n.
records = Table(
    "agentic_records",
    metadata,
    Column("session", Text, ForeignKey("agentic_sessions.id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("turn_id", Text, nullable=False),
    Column("step_id", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)

# A removed prompt keeps its row, so that no version's number is ever given twice; `chosen` is then 0.
prompts = Table(
    "agentic_prompts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("latest", BigInteger, nullable=False),
    Column("chosen", BigInteger, nullable=False),
)
prompt_versions = Table(
    "agentic_prompt_versions",
    metadata,
    Column("name", Text, ForeignKey("agentic_prompts.name"), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("template", Text, nullable=False),
    Column("variables", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("created", Double, nullable=False),
)

documents = Table(
    "agentic_documents",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("created", Double, nullable=False),
    Column("body", Text, nullable=False),
)


class SessionRow(NamedTuple):
    """A row of `agentic_sessions`; times are seconds since 1970, UTC."""

    id: str
    agent: str
    model: str
    parent: str | None
    parent_seq: int
    created: float
    updated: float
    seq: int
    head: bytes
    owner: str | None
    host: str | None
    pid: int | None
    lease_until: float | None


class Sql:
    """The statements as text, with named parameters.

    Args:
        dialect: The database's dialect.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._insert = sqlite.insert if dialect.name == "sqlite" else postgresql.insert
        self._of_sessions()
        self._of_records()
        self._of_prompts()
        self._of_documents()

    def _text(self, statement: ClauseElement) -> str:
        return str(statement.compile(dialect=self._dialect))

    def _of_sessions(self) -> None:
        text, insert = self._text, self._insert
        this = sessions.c.id == bindparam("session")
        mine = and_(this, sessions.c.owner == bindparam("token"))
        lease = ("owner", "host", "pid")
        # Leases end by one clock. Those who share an SQLite file share a machine's; for others it is the database's.
        here, clock = self._dialect.name == "sqlite", "extract(epoch FROM clock_timestamp())::float8"
        until: ColumnElement[float] = bindparam("until") if here else literal_column(f"{clock} + {LEASE_SECONDS}")
        self.clock = "" if here else f"SELECT {clock}"
        self.add_session = text(insert(sessions).on_conflict_do_nothing())
        self.session = text(select(sessions).where(this))
        self.session_locked = text(select(sessions).where(this).with_for_update())
        self.sessions = text(select(sessions).order_by(sessions.c.updated.desc(), sessions.c.id))
        self.forks = text(
            select(sessions.c.id).where(sessions.c.parent == bindparam("session")).order_by(sessions.c.id)
        )
        owner: dict[str, Any] = {name: bindparam(f"new_{name}") for name in lease}
        self.take = text(update(sessions).where(this).values(**owner, lease_until=until))
        self.renew = text(update(sessions).where(mine).values(lease_until=until))
        nobody = dict.fromkeys((*lease, "lease_until"), null())
        self.free = text(update(sessions).where(mine).values(nobody))
        advance = (
            update(sessions)
            .where(mine, sessions.c.seq == bindparam("old_seq"))
            .values(seq=bindparam("new_seq"), head=bindparam("new_head"), updated=bindparam("now"))
        )
        self.advance = text(advance.values(lease_until=until))
        self.advance_last = text(advance.values(nobody))
        self.drop_session = text(delete(sessions).where(this))

    def _of_records(self) -> None:
        text = self._text
        own = and_(
            records.c.session == bindparam("session"),
            records.c.seq >= bindparam("first"),
            records.c.seq <= bindparam("last"),
        )
        self.add_record = text(self._insert(records))
        self.records = text(select(records).where(own).order_by(records.c.seq))
        self.labels = text(
            select(records.c.seq, records.c.kind, records.c.turn_id, records.c.step_id)
            .where(own)
            .order_by(records.c.seq)
        )
        self.hash = text(select(records.c.hash).where(own))
        self.drop_records = text(delete(records).where(records.c.session == bindparam("session")))

    def _of_prompts(self) -> None:
        text, insert = self._text, self._insert
        named = prompts.c.name == bindparam("prompt")
        chosen = select(prompt_versions, prompts.c.chosen).join(prompts)
        self.add_prompt = text(insert(prompts).on_conflict_do_nothing())
        self.next_version = text(update(prompts).where(named).values(latest=prompts.c.latest + literal_column("1")))
        self.prompt = text(select(prompts).where(named))
        self.add_version = text(insert(prompt_versions))
        self.choose = text(update(prompts).where(named).values(chosen=bindparam("version")))
        self.versions = text(chosen.where(named).order_by(prompt_versions.c.version))
        self.prompts = text(chosen.where(prompt_versions.c.version == prompts.c.chosen).order_by(prompts.c.name))
        self.drop_versions = text(delete(prompt_versions).where(prompt_versions.c.name == bindparam("prompt")))

    def _of_documents(self) -> None:
        text, put = self._text, self._insert(documents)
        of_kind = documents.c.kind == bindparam("of_kind")
        this = and_(of_kind, documents.c.name == bindparam("called"))
        self.put_document = text(
            put.on_conflict_do_update(index_elements=["kind", "name"], set_={"body": put.excluded.body})
        )
        self.document = text(select(documents).where(this))
        self.documents = text(select(documents).where(of_kind).order_by(documents.c.created, documents.c.name))
        self.drop_document = text(delete(documents).where(this))
