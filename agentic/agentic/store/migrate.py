"""Brings a database's schema up to date; Alembic is imported only when there is something to do."""

from __future__ import annotations

import threading

from sqlalchemy import Connection, Engine, inspect, text

from ..types.errors import StoreCorrupt, StoreTooNew

HEAD = "0003"
"""The newest revision in `migrations/versions`."""
_REVISIONS = {f"{number:04}" for number in range(1, int(HEAD) + 1)}
VERSION_TABLE = "agentic_version"

_ALEMBIC = threading.Lock()  # Alembic's context is a global of its module
_ADVISORY = 7_236_837_462  # any number that no other application is likely to lock


def migrate(engine: Engine, where: str) -> None:
    """Creates or upgrades the tables, in one transaction that waits for other processes doing the same.

    Args:
        engine: The database.
        where: Its path or URL, for messages.

    Raises:
        StoreTooNew: A newer version of this package wrote it.
        StoreCorrupt: It is not ours, or says no version.
    """
    with engine.connect() as connection:
        if _version(connection, where) == HEAD:
            return
    with _ALEMBIC, engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY})
        if _version(connection, where) != HEAD:
            _upgrade(connection)
        connection.commit()


def _version(connection: Connection, where: str) -> str | None:
    tables = inspect(connection).get_table_names()
    if VERSION_TABLE not in tables:
        foreign = [name for name in tables if not name.startswith("agentic_")]  # a memory bank may have come first
        if foreign and connection.dialect.name == "sqlite":
            raise StoreCorrupt(f"{where} is another program's database.", hint="Choose another file for the store.")
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608
    if isinstance(found, str) and found > HEAD:
        raise StoreTooNew(
            f"{where} was written by a newer version of agentic (schema {found}, this version knows {HEAD}).",
            hint="Upgrade agentic, or choose another store.",
        )
    if found not in _REVISIONS:
        raise StoreCorrupt(f"{where} does not say which version wrote it.", hint="Restore it from a backup.")
    return str(found)


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "agentic.store:migrations")
    config.attributes.update(connection=connection, version_table=VERSION_TABLE)
    command.upgrade(config, "head")
