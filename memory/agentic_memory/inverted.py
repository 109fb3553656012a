"""The inverted FAISS index: built from the rows, measured, and kept in a file until a newer one takes its place."""

from __future__ import annotations

import json
import os
import secrets
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .rows import Tx, span
from .rows.vectors import read_after

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .types import Vectors

    Numbers: TypeAlias = NDArray[np.int64]

_RECALL = 0.99
_TRIALS = 100
_FORMAT = 1
_ABANDONED = 3600.0
"""Seconds after which a part of a file is that of a process that died while it wrote."""


@dataclass(frozen=True, slots=True)
class Inverted:
    """An index and what it knows of the rows.

    Attributes:
        index: FAISS's.
        probes: Lists to visit in a search.
        uid: The bank's.
        generation: The bank's, when it was read.
        last: The last chunk that was read.
        gone: The last removal that it knows of.
    """

    index: Any
    probes: int
    uid: str
    generation: int
    last: int
    gone: int


def build(tx: Tx, least: int) -> Inverted | None:
    """Builds an index of a bank's vectors, or None when there are not more than `least`."""
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(1)
    low, high = span(tx)
    parts = list(read_after(tx, low))
    count = sum(len(part) for part, _ in parts)
    if count <= least:
        return None
    (gone,) = tx.one("SELECT max(id) FROM agentic_bank_gone WHERE id > ? AND id < ?", (low, high)) or (None,)
    found = np.concatenate([part for part, _ in parts])
    vectors = np.concatenate([part for _, part in parts])
    del parts
    index = _trained(vectors)
    index.add_with_ids(vectors, found - low)
    newest = max(gone or low, tx.bank.floor)
    return Inverted(
        index, _measured(index, vectors, found - low), tx.bank.uid, tx.bank.generation, int(found[-1]), newest
    )


def _trained(vectors: Vectors) -> Any:
    import faiss
    import numpy as np

    count, dimension = vectors.shape
    lists = max(1, int(4 * count**0.5))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dimension), dimension, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.niter = 6
    index.cp.min_points_per_centroid = 1
    sample = np.random.default_rng(0).choice(count, min(count, 32 * lists), replace=False)
    index.train(vectors[np.sort(sample)])
    return index


def _measured(index: Any, vectors: Vectors, numbers: Numbers) -> int:
    """The fewest lists whose visit finds 99 % of the true ten neighbours among the first forty."""
    import numpy as np

    random = np.random.default_rng(1)
    chosen = np.sort(random.choice(len(vectors), min(len(vectors), _TRIALS), replace=False))
    # A little beside what is stored, as questions are.
    queries = vectors[chosen] + random.normal(scale=0.02, size=(len(chosen), vectors.shape[1])).astype(np.float32)
    true = numbers[np.argpartition(queries @ vectors.T, -10, axis=1)[:, -10:]]
    probes = 8
    while probes < index.nlist:
        index.nprobe = probes
        _, proposed = index.search(queries, 40)
        found = sum(len(np.intersect1d(row, right)) for row, right in zip(proposed, true, strict=True))
        if found >= _RECALL * true.size:
            return probes
        probes = probes * 3 // 2
    return int(index.nlist)


def flat(dimension: int) -> Any:
    """An empty index that compares everything, in half precision."""
    import faiss

    exact = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    exact.is_trained = True
    return faiss.IndexIDMap(exact)


def search(
    index: Any, vector: Vectors, want: int, local: Numbers | None, probes: int | None
) -> tuple[Vectors, Numbers]:
    """The best `want` of an index, among the numbers `local` if given; `probes` is None for a flat one."""
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(1)  # holds for this thread only
    parameters: Any = faiss.SearchParameters() if probes is None else faiss.SearchParametersIVF()
    if probes is not None:
        parameters.nprobe = probes
    if local is not None:
        bits = np.zeros(int(local[-1]) + 1 if len(local) else 1, dtype=bool)
        bits[local] = True
        packed: Any = np.packbits(bits, bitorder="little")
        bitmap: Any = faiss.IDSelectorBitmap
        selector = bitmap(packed)
        parameters.sel = selector
    scores, numbers = index.search(vector[None, :], min(want, index.ntotal) or 1, params=parameters)
    there = numbers[0] >= 0
    return scores[0][there], numbers[0][there]


def ranges(pairs: Sequence[tuple[int, int]]) -> Numbers:
    """All numbers of some ranges, both ends included."""
    import numpy as np

    parts = [np.arange(first, last + 1, dtype=np.int64) for first, last in pairs]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def vector_to_array(vector: Any) -> Numbers:
    """FAISS's vector of numbers as an array."""
    import faiss

    array: Numbers = faiss.vector_to_array(vector)
    return array


def numbers(index: Any) -> Numbers:
    """What an inverted index holds."""
    import faiss
    import numpy as np

    lists = index.invlists
    parts = [
        faiss.rev_swig_ptr(lists.get_ids(place), lists.list_size(place)).copy()
        for place in range(index.nlist)
        if lists.list_size(place)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def save(made: Inverted, database: Path) -> None:
    """Writes an index beside its database, whole or not at all, and removes older ones."""
    import faiss

    body = faiss.serialize_index(made.index).tobytes()
    told = {name: getattr(made, name) for name in ("probes", "uid", "generation", "last", "gone")}
    head = json.dumps({"format": _FORMAT, "crc": zlib.crc32(body), "size": len(body), **told}).encode() + b"\n"
    file = database.with_name(f"{database.name}.{made.uid}.{made.generation}.index")
    part = file.with_name(f"{file.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
            out.write(head)
            out.write(body)
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    for generation, other in _files(database, made.uid):
        if generation < made.generation:
            other.unlink(missing_ok=True)
    for part, age in _parts(database, made.uid):
        if age > _ABANDONED:
            part.unlink(missing_ok=True)


def load(tx: Tx, database: Path) -> Inverted | None:
    """The newest index that a file holds and that the rows can bring up to date, or None."""
    for generation, file in sorted(_files(database, tx.bank.uid), reverse=True):
        if generation <= tx.bank.generation:
            with suppress(
                OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError
            ):  # damaged: it is made anew
                made = _read(file)
                if made.gone >= tx.bank.floor and made.uid == tx.bank.uid:
                    return made
    return None


def discard(database: Path, uid: str) -> None:
    """Removes a bank's files."""
    for file in _beside(database, uid):
        file.unlink(missing_ok=True)


def _read(file: Path) -> Inverted:
    import faiss
    import numpy as np

    with file.open("rb") as source:
        told = json.loads(source.readline(4096))
        body = source.read()
    if told.pop("format") != _FORMAT or told.pop("size") != len(body) or told.pop("crc") != zlib.crc32(body):
        raise ValueError(f"{file} is damaged.")
    return Inverted(faiss.deserialize_index(np.frombuffer(body, dtype=np.uint8)), **told)


def _files(database: Path, uid: str) -> list[tuple[int, Path]]:
    found = []
    for file in _beside(database, uid):
        name, _, ending = file.name.removesuffix(".index").rpartition(".")
        if file.suffix == ".index" and name == f"{database.name}.{uid}" and ending.isdecimal():
            found.append((int(ending), file))
    return found


def _parts(database: Path, uid: str) -> list[tuple[Path, float]]:
    """Files that were begun, and seconds since somebody wrote to them."""
    found = []
    for file in _beside(database, uid):
        with suppress(OSError):  # it is done, or somebody else removed it
            if file.suffix == ".part":
                found.append((file, time.time() - file.stat().st_mtime))
    return found


def _beside(database: Path, uid: str) -> list[Path]:
    try:
        return [file for file in database.parent.iterdir() if file.name.startswith(f"{database.name}.{uid}.")]
    except OSError:
        return []
