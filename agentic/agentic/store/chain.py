"""Records as rows: each carries the hash of everything before it, so that no row can be lost or altered unseen.

A row's hash is SHA-256 over the previous row's hash, the row's number (8 bytes, big-endian) and its JSON. A fork goes
on from its parent's hash, so one chain runs through all of its history.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..collector import collector_paused
from ..types.errors import InvalidInput, NotFound, StoreCorrupt
from ..types.records import CallClosed, CallOpened, Record, StepClosed, StepOpened

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

ZERO = bytes(32)
"""The hash before the first record."""


class Row(NamedTuple):
    """One stored record; the columns between `seq` and `body` are copied from the body, for queries."""

    session: str
    seq: int
    kind: str
    turn_id: str
    step_id: str
    body: Any  # bytes; in a damaged SQLite file anything
    hash: bytes


class Span(NamedTuple):
    """A part of a log: a session's own rows above `low`, up to and with `high`."""

    session: str
    low: int
    high: int


def encode(records: Sequence[Record]) -> list[bytes]:
    """Writes records as JSON, and reads them back: what a later process could not read must never enter a log.

    Raises:
        InvalidInput: A record holds a value that JSON cannot carry, or of the wrong type.
    """
    from pydantic import ValidationError

    bodies = [_dump(record) for record in records]
    try:
        _adapter().validate_json(_listed(bodies))
    except ValidationError as error:
        raise _unfit(records[_place(error)], error.errors()[0]["msg"]) from error
    return bodies


def seal(session_id: str, seq: int, head: bytes, records: Sequence[Record], bodies: Sequence[bytes]) -> list[Row]:
    """Numbers and chains records that follow record `seq`, whose hash is `head`."""
    rows = []
    for record, body in zip(records, bodies, strict=True):
        seq += 1
        head = link(head, seq, body)
        turn_id, step_id = _labels(record)
        rows.append(Row(session_id, seq, record.record, turn_id, step_id, body, head))
    return rows


def unseal(rows: Sequence[Row], span: Span, head: bytes) -> list[Record]:
    """Checks rows against their hashes and reads them.

    Args:
        rows: In order. When `span.low` is not 0 they begin with that row: the hash that the chain goes on from.
        span: The session's name and the numbers that the records must have.
        head: The hash that the last row must have.

    Raises:
        StoreCorrupt: Names the first row that is missing, damaged or altered.
    """
    previous, expected = ZERO, span.low + 1
    if span.low:
        if not rows or rows[0].seq != span.low:
            raise _corrupt(span.session, span.low, "is missing")
        if not isinstance(rows[0].hash, bytes):
            raise _corrupt(span.session, span.low, "does not match its hash")
        previous, rows = rows[0].hash, rows[1:]
    for row in rows:
        if row.seq != expected:
            break
        if not isinstance(row.body, bytes) or row.hash != link(previous, row.seq, row.body):
            raise _corrupt(span.session, row.seq, "does not match its hash")
        previous, expected = row.hash, expected + 1
    if expected <= span.high:
        raise _corrupt(span.session, expected, "is missing")
    if previous != head:
        raise _corrupt(span.session, span.high, "is not the one that the session ended with")
    return _decode(span.session, rows)


def fork_point(labels: Iterable[tuple[int, str, str, str]], at: str) -> int:
    """The number of the last record that belongs to a step or turn.

    Args:
        labels: Each record's number, kind, turn id and step id, in order.
        at: The id of the step or turn.

    Raises:
        NotFound: No record belongs to it.
    """
    last, inside = 0, False
    for seq, kind, turn_id, step_id in labels:
        if kind == "turn_opened":
            inside = turn_id == at
        paused = kind == "turn_suspended" and seq == last + 1  # then what was forked waits, as its parent did
        if at and (inside or step_id == at or (last and paused)):
            last = seq
    if not last:
        raise NotFound(f"The session has no step or turn {at!r}.")
    return last


def link(previous: bytes, seq: int, body: bytes) -> bytes:
    """The hash of a record, given the one before it."""
    return hashlib.sha256(previous + seq.to_bytes(8, "big") + body).digest()


def _labels(record: Record) -> tuple[str, str]:
    if isinstance(record, StepOpened):
        return record.step.turn_id, record.step.step_id
    if isinstance(record, CallOpened | CallClosed | StepClosed):
        return "", record.step_id
    return record.turn_id, ""


def _dump(record: Record) -> bytes:
    from pydantic_core import PydanticSerializationError

    try:
        return _adapter().dump_json([record], warnings="error")[1:-1]
    except (PydanticSerializationError, RecursionError) as error:
        raise _unfit(record, str(error)) from error


def _decode(session_id: str, rows: Sequence[Row]) -> list[Record]:
    from pydantic import ValidationError

    try:
        with collector_paused():
            records = _adapter().validate_json(_listed(row.body for row in rows))
    except ValidationError as error:
        raise _corrupt(session_id, rows[_place(error)].seq, "cannot be read by this version") from error
    for row, record in zip(rows, records, strict=True):
        if (row.kind, row.turn_id, row.step_id) != (record.record, *_labels(record)):
            raise _corrupt(session_id, row.seq, "is filed under the wrong kind, turn or step")
    return records


def _listed(bodies: Iterable[bytes]) -> bytes:
    # Reading many records in one call costs half of one call for each.
    return b"[" + b",".join(bodies) + b"]"


def _place(error: ValidationError) -> int:
    """Which element of the list was refused; 0 when the JSON as a whole was."""
    place = error.errors()[0]["loc"][:1]
    return place[0] if place and isinstance(place[0], int) else 0


def _unfit(record: object, reason: str) -> InvalidInput:
    return InvalidInput(f"A {type(record).__name__} cannot be stored as JSON: {reason}")


def _corrupt(session_id: str, seq: int, what: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"Record {seq} of session {session_id!r} {what}.",
        hint="Restore the store from a backup, or fork the session at a step before that record.",
    )


@functools.cache
def _adapter() -> TypeAdapter[list[Record]]:
    from pydantic import TypeAdapter

    return TypeAdapter(list[Record])
