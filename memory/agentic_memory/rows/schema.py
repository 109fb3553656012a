"""The tables. They may share a database with the session store, and have a version of their own."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import Double, UserDefinedType

from agentic.types.errors import ConfigError, StoreCorrupt, StoreTooNew

from .pairs import paired

VERSION = 2
SPAN = 40
"""Bits of a number that count within a bank; those above say which bank."""

INDEXED = "to_tsvector('english', coalesce(words, text))"
"""What PostgreSQL finds chunks by."""
_INDEX = f"CREATE INDEX agentic_bank_words ON agentic_bank_chunks USING gin ({INDEXED})"
_ADVISORY = 7_236_837_463  # any number that no other application is likely to lock
_metadata = MetaData()
_Number = BigInteger().with_variant(Integer, "sqlite")  # SQLite's own row number costs no second index
_Json = Text().with_variant(JSONB(), "postgresql")


class _Vector(UserDefinedType[bytes]):
    """pgvector's type."""

    def get_col_spec(self, **_options: object) -> str:
        return "vector"


_version = Table("agentic_bank_version", _metadata, Column("version", Integer, nullable=False))

_banks = Table(
    "agentic_banks",
    _metadata,
    Column("id", _Number, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("uid", Text, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("floor", BigInteger, nullable=False),
    Column("settings", Text, nullable=False),
    Column("created", Double, nullable=False),
)

# `id` is the number of the first chunk; a document without chunks has a number too.
_documents = Table(
    "agentic_bank_documents",
    _metadata,
    Column("id", _Number, primary_key=True, autoincrement=False),
    Column("bank", _Number, nullable=False),
    Column("name", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("mime_type", Text, nullable=False),
    Column("metadata", _Json, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("added", Double, nullable=False),
    Index("agentic_bank_documents_name", "bank", "name", unique=True),
)

_chunks = Table(
    "agentic_bank_chunks",
    _metadata,
    Column("id", _Number, primary_key=True, autoincrement=False),
    Column("document", _Number, nullable=False),
    Column("text", Text, nullable=False),
    Column("position", Text, nullable=False),
    Column("words", Text),  # what is indexed, where that is not the text: see `pairs`
)

_vectors = Table(
    "agentic_bank_vectors",
    _metadata,
    Column("chunk", _Number, primary_key=True, autoincrement=False),
    Column("vector", LargeBinary().with_variant(_Vector(), "postgresql"), nullable=False),
)

# Ranges of chunks that are gone: what readers of other processes take out of their index.
_gone = Table(
    "agentic_bank_gone",
    _metadata,
    Column("id", _Number, primary_key=True, autoincrement=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
)

# Vectors of documents that are not complete yet: an interrupted ingest goes on where it was.
_pending = Table(
    "agentic_bank_pending",
    _metadata,
    Column("bank", _Number, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, primary_key=True),
    Column("vector", LargeBinary, nullable=False),
)


def prepare(engine: Engine, where: str) -> None:
    """Creates the tables if need be, in one transaction that waits for other processes doing the same.

    Raises:
        StoreTooNew: A newer version of this package wrote them.
        StoreCorrupt: The database is another program's.
        ConfigError: The PostgreSQL server has no pgvector.
    """
    with engine.connect() as connection:
        if _found(connection, where) == VERSION:
            return
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY})
        found = _found(connection, where)
        if found == 0:
            if engine.dialect.name != "sqlite":
                _extend(connection)
            _metadata.create_all(connection)
            connection.execute(_version.insert().values(version=VERSION))
            if engine.dialect.name != "sqlite":
                connection.exec_driver_sql(_INDEX)
        elif found < VERSION:
            _pair_words(connection)
            connection.execute(_version.update().values(version=VERSION))
        connection.commit()


def _found(connection: Connection, where: str) -> int:
    """The version of the tables; 0 where there are none."""
    tables = inspect(connection).get_table_names()
    if _version.name not in tables:
        if connection.dialect.name == "sqlite" and any(not name.startswith("agentic_") for name in tables):
            raise StoreCorrupt(f"{where} is another program's database.", hint="Choose another file for the bank.")
        return 0
    version = connection.execute(_version.select()).scalar() or 0
    if version > VERSION:
        raise StoreTooNew(
            f"The banks in {where} were written by a newer version of agentic (schema {version}).",
            hint="Upgrade agentic, or choose another store.",
        )
    return int(version)


def _pair_words(connection: Connection) -> None:
    """From version 1: words of scripts without spaces are indexed by their pairs."""
    connection.exec_driver_sql("ALTER TABLE agentic_bank_chunks ADD COLUMN words TEXT")
    banks = connection.execute(_banks.select()).all() if connection.dialect.name == "sqlite" else ()
    rows = connection.execute(select(_chunks.c.id, _chunks.c.text).execution_options(yield_per=1_000))
    changed = [{"chunk": row.id, "said": row.text, "new": new} for row in rows if (new := paired(row.text)) is not None]
    for bank in banks:
        view, words = f"agentic_bank_text_{bank.id}", words_table(bank.id)
        connection.exec_driver_sql(f"DROP VIEW {view}")
        connection.exec_driver_sql(words_of_bank(bank.id)[0])
        here = [each for each in changed if each["chunk"] >> SPAN == bank.id]
        delete = f"INSERT INTO {words} ({words}, rowid, text) VALUES ('delete', :chunk, :said)"  # noqa: S608 - a number
        for statement in (delete, f"INSERT INTO {words} (rowid, text) VALUES (:chunk, :new)"):  # noqa: S608
            if here:
                connection.execute(text(statement), here)
    if changed:
        connection.execute(text("UPDATE agentic_bank_chunks SET words = :new WHERE id = :chunk"), changed)
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql("DROP INDEX agentic_bank_words")
        connection.exec_driver_sql(_INDEX)


def _extend(connection: Connection) -> None:
    known = connection.exec_driver_sql("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").scalar()
    if not known:
        raise ConfigError("This PostgreSQL server has no pgvector.", hint="Install it there: github.com/pgvector.")
    connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS vector")


def words_table(bank: int) -> str:
    """The name of a bank's full-text index."""
    return f"agentic_bank_words_{bank}"


def near_index(bank: int) -> str:
    """The name of a bank's HNSW index in PostgreSQL."""
    return f"agentic_bank_near_{bank}"


def words_of_bank(bank: int) -> list[str]:
    """What creates a bank's full-text index in SQLite: each bank has its own, for its own word statistics."""
    view, low = f"agentic_bank_text_{bank}", bank << SPAN
    inside = f"id > {low} AND id < {low + (1 << SPAN)}"
    return [
        f"CREATE VIEW {view} AS SELECT id, coalesce(words, text) AS text FROM agentic_bank_chunks WHERE {inside}",  # noqa: S608 - a number
        f"CREATE VIRTUAL TABLE {words_table(bank)} USING fts5(text, content='{view}', content_rowid='id', "
        "tokenize='porter unicode61 remove_diacritics 2')",
        # Few, large merges, and one segment for each transaction: adding costs hardly more in a large bank.
        f"INSERT INTO {words_table(bank)} ({words_table(bank)}, rank) VALUES ('automerge', 16)",  # noqa: S608
        f"INSERT INTO {words_table(bank)} ({words_table(bank)}, rank) VALUES ('crisismerge', 24)",  # noqa: S608
        f"INSERT INTO {words_table(bank)} ({words_table(bank)}, rank) VALUES ('hashsize', {16 * 1024**2})",  # noqa: S608
    ]
