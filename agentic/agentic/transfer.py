"""Sessions as JSON lines: to keep them elsewhere, to look into them with other tools, to bring them back.

A session is a line that describes it and then a line for each record of its log, what it inherited included::

    {"format":"agentic-session/1","session_id":"trip","agent":"agent","model":"…","records":2,"head":"9f…"}
    {"seq":1,"hash":"4b…","record":{"turn_id":…}}
    {"seq":2,"hash":"9f…","record":{…}}

The hashes are those of the store (see `agentic.store.chain`): each covers its record's bytes and everything before it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from .history import History
from .store import Store
from .store.base import check_name
from .store.chain import ZERO, encode, link, seal
from .types.errors import AgenticError, IllegalStep, InvalidInput, NotFound
from .types.records import Record
from .types.serialise import from_json, to_dict

FORMAT = "agentic-session/1"
_RECORD = re.compile(rb'\{"seq":(\d{1,15}),"hash":"([0-9a-f]{64})","record":(.*)\}\s*', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Exported:
    """A session out of a file, checked.

    Attributes:
        session_id: Its name.
        agent: The agent's name.
        model: The model string that it was started with.
        records: Its log.
    """

    session_id: str
    agent: str
    model: str
    records: tuple[Record, ...]


async def export_session(store: Store, session_id: str) -> Iterator[bytes]:
    """A session's lines, each with its line end; a fork's hold the history that it shares as well.

    Raises:
        NotFound: There is no such session.
        StoreCorrupt: Its log is damaged.
    """
    session, records = await store.get(session_id), await store.read(session_id)
    return _written(session.session_id, session.agent, session.model, records)


def _written(session_id: str, agent: str, model: str, records: list[Record]) -> Iterator[bytes]:
    rows = seal(session_id, 0, ZERO, records, encode(records))
    head = (rows[-1].hash if rows else ZERO).hex()
    about = {"format": FORMAT, "session_id": session_id, "agent": agent, "model": model}
    yield f"{json.dumps({**about, 'records': len(rows), 'head': head}, separators=(',', ':'))}\n".encode()
    for row in rows:
        yield b'{"seq":%d,"hash":"%s","record":%s}\n' % (row.seq, row.hash.hex().encode(), row.body)


def read_exported(lines: Iterable[bytes]) -> Iterator[Exported]:
    """Reads sessions back, and checks every hash.

    Raises:
        InvalidInput: A line is not as it was written; the message names it.
    """
    numbered = enumerate(lines, 1)
    for number, line in numbered:
        if line.strip():
            yield _session(number, line, numbered)


def _session(number: int, line: bytes, lines: Iterator[tuple[int, bytes]]) -> Exported:
    about, count, head = _about(number, line)
    history, records, previous = History(about.session_id), [], ZERO
    for seq in range(1, count + 1):
        number, line = next(lines, (number, b""))
        found = _RECORD.fullmatch(line)
        if found is None or int(found[1]) != seq:
            raise _wrong(number, f"record {seq} of session {about.session_id!r} is missing or was written anew")
        previous = link(previous, seq, found[3])
        if previous.hex().encode() != found[2]:
            raise _wrong(number, f"record {seq} of session {about.session_id!r} does not match its hash")
        try:
            record = from_json(Record, found[3])
            _check_kept(json.loads(found[3]), to_dict(record, Record))
            history.apply(record)
        except (InvalidInput, IllegalStep, KeyError, IndexError) as error:
            raise _wrong(number, f"record {seq} of session {about.session_id!r} cannot stand there: {error}") from error
        records.append(record)
    if previous != head:
        raise _wrong(number, f"session {about.session_id!r} does not end with the record that it ended with")
    return replace(about, records=tuple(records))


def _check_kept(written: object, read: object, at: str = "") -> None:
    """Refuses what a newer version wrote and this one would leave out.

    Raises:
        InvalidInput: A key is not known; the message names it.
    """
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            if key not in read:
                raise InvalidInput(f"this version does not know {at + key!r}; import it with the one that wrote it")
            _check_kept(value, read[key], f"{at}{key}.")
    elif isinstance(written, list) and isinstance(read, list):
        for value, other in zip(written, read, strict=False):
            _check_kept(value, other, at)


def _about(number: int, line: bytes) -> tuple[Exported, int, bytes]:
    try:
        data = json.loads(line)
        form = str(data["format"])
        about = Exported(
            check_name("session id", data["session_id"]),
            check_name("agent name", data["agent"], empty=True),
            check_name("model", data["model"], empty=True),
            (),
        )
        count, head = int(data["records"]), bytes.fromhex(data["head"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise _wrong(number, "it is not the beginning of an exported session") from None
    if form != FORMAT:
        raise _wrong(number, f"it is in the format {form[:40]!r}; this version reads {FORMAT!r}")
    return about, count, head


def _wrong(number: int, what: str) -> InvalidInput:
    return InvalidInput(f"Line {number}: {what}.", hint="Nothing was imported. Export the session again.")


async def import_sessions(store: Store, lines: Iterable[bytes], *, name: str | None = None) -> list[str]:
    """Adds exported sessions to a store. All of them are checked before the first is written.

    Args:
        store: Where to.
        lines: The file's.
        name: What the session is called there; only for a file that holds one session.

    Returns:
        Their ids.

    Raises:
        InvalidInput: A line is wrong, or there is a session of that name already.
    """
    found = list(read_exported(lines))
    if name is not None:
        if len(found) != 1:
            raise InvalidInput(f"One name does not fit {len(found)} sessions.", hint="Import them under their own.")
        found = [replace(found[0], session_id=check_name("session id", name))]
    names = [one.session_id for one in found]
    taken = [one for one in names if names.count(one) > 1 or await _holds_something(store, one)]
    if taken:
        raise InvalidInput(
            f"There is already a session {taken[0]!r}; nothing was imported.",
            hint="Import it under another name with --as, or remove that one first.",
        )
    for session in found:
        await _add(store, session)
    return names


async def _holds_something(store: Store, session_id: str) -> bool:
    try:
        session = await store.get(session_id)
    except NotFound:
        return False
    return bool(session.records or session.parent)


async def _add(store: Store, session: Exported) -> None:
    await store.create(session.session_id, agent=session.agent, model=session.model)
    lease = await store.acquire(session.session_id)
    try:
        if lease.seq:
            raise InvalidInput(f"Session {session.session_id!r} was begun meanwhile; it was not imported.")
        await store.append(lease, session.records)
    finally:
        written = lease.seq
        await store.release(lease)
        if session.records and not written:
            with suppress(AgenticError):
                await store.delete(session.session_id)
