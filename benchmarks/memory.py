"""What a memory bank costs, in CPU seconds of the whole process, with given vectors of 384 numbers.

    python benchmarks/memory.py                 10,000 and 100,000 chunks
    python benchmarks/memory.py --chunks 10000  one size
    python benchmarks/memory.py --churn 600     ten minutes of searching, adding and removing from threads and processes
    python benchmarks/memory.py --json          the same for machines

Times of one machine say little; what the bars ask is printed beside them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agentic_memory import MemoryBank

if TYPE_CHECKING:
    from agentic_memory.types import Vectors

DIMENSION = 384
QUERIES = 200


def vectors(count: int) -> Vectors:
    """Groups in a space of fewer dimensions, with noise: as texts' vectors are."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(2_000, 64))
    plan = random.normal(size=(64, DIMENSION))
    points = centres[random.integers(0, len(centres), count)] + 0.7 * random.normal(size=(count, 64))
    found = points @ plan + 2.0 * random.normal(size=(count, DIMENSION))
    unit: Vectors = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    return unit


def texts(count: int) -> list[str]:
    """About a kilobyte each, of words as frequent as words are."""
    random = np.random.default_rng(1)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(random.choice(letters, size=random.integers(3, 10))) for _ in range(30_000)]
    drawn = np.minimum(random.zipf(1.15, size=(count, 150)), len(words)) - 1
    return [" ".join(words[place] for place in row) for row in drawn]


def cpu(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def measure(count: int) -> dict[str, float]:
    given, said = vectors(count), texts(count)
    names = [f"d{number}" for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "agent.db"
        with MemoryBank("bench", store=file, embedding=None) as bank:
            bank.stats()
            spent = []
            for start in range(0, count, 1_000):
                part = slice(start, start + 1_000)
                spent.append(cpu(partial(bank.add_texts, said[part], ids=names[part], vectors=given[part])))
            result = {
                "chunks": count,
                "ingest_per_cpu_s": count / sum(spent),
                "last_to_first_thousand": statistics.median(spent[-5:]) / statistics.median(spent[:5]),
                "index_cpu_s": cpu(bank.optimise),
                **queries(bank, given, said),
            }
        size = sum(each.stat().st_size for each in Path(folder).iterdir())
        result["bytes_per_chunk_beside_text"] = (size - sum(map(len, said))) / count
        result["open_cpu_s"] = opened(file, given[0])
    return result


def opened(file: Path, vector: Vectors) -> float:
    """Opening a bank and its first query."""

    def work() -> None:
        with MemoryBank("bench", store=file, embedding=None) as bank:
            assert len(bank.query("", vector=vector, k=10, mode="vector")) == 10

    return cpu(work)


def queries(bank: MemoryBank, given: Vectors, said: list[str]) -> dict[str, float]:
    random = np.random.default_rng(2)
    chosen = random.integers(0, len(given), QUERIES)
    noisy = given[chosen] + random.normal(scale=0.02, size=(QUERIES, DIMENSION)).astype(np.float32)
    asked = [" ".join(said[number].split()[:6]) for number in chosen]
    result: dict[str, float] = {}
    for mode in ("vector", "keyword", "hybrid"):
        found: list[set[str]] = []

        def one(number: int, mode: Any = mode, found: list[set[str]] = found) -> None:
            hits = bank.query(asked[number], vector=noisy[number], k=10, mode=mode)
            found.append({hit.document_id for hit in hits})

        times = [cpu(partial(one, number)) for number in range(QUERIES)]
        result[f"{mode}_p50_cpu_ms"] = 1_000 * statistics.median(times)
        if mode == "vector":
            true = np.argpartition(-(noisy @ given.T), 10, axis=1)[:, :10]
            right = sum(len(one & {f"d{n}" for n in row}) for one, row in zip(found, true.tolist(), strict=True))
            result["recall_at_10"] = right / 10 / QUERIES
    return result


def churn(seconds: float) -> dict[str, float]:
    """Two processes and three threads each search, add and remove in one bank; a stale hit ends it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "agent.db"
        with MemoryBank("bench", store=file, embedding=None) as bank:
            bank.add_texts([f"text {n}" for n in range(5_000)], vectors=vectors(5_000))
            command = [sys.executable, __file__, "--churner", str(file), "--churn", str(seconds)]
            processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
            told = [json.loads(process.communicate()[0] or "{}") for process in processes]
            verified = bank.verify()
    codes = [process.returncode for process in processes]
    return {
        "seconds": seconds,
        "operations": sum(each.get("operations", 0) for each in told),
        "stale_hits": sum(each.get("stale", 0) for each in told),
        "crashes": sum(code != 0 for code in codes),
        "problems": len(verified.problems),
    }


def churner(file: Path, seconds: float) -> dict[str, int]:
    """One process of `churn`."""
    counted = {"operations": 0, "stale": 0}
    lock, until = threading.Lock(), time.monotonic() + seconds
    given = vectors(2_000)

    def work(seed: int, bank: MemoryBank) -> None:
        random = np.random.default_rng(seed + 1_000 * int(time.time_ns() % 1_000_000))
        number = 0
        while time.monotonic() < until:
            number += 1
            name, vector = f"own-{id(bank)}-{time.time_ns()}-{seed}", given[random.integers(len(given))]
            bank.add_texts([f"churning {name}"], ids=[name], vectors=vector[None, :])
            seen = {hit.document_id for hit in bank.query("churning", vector=vector, k=1_000, mode="vector")}
            bank.delete(name)
            after = {hit.document_id for mode in ("vector", "hybrid") for hit in found(bank, vector, mode)}
            with lock:
                counted["operations"] += 5
                counted["stale"] += (name in after) + (name not in seen)

    def found(bank: MemoryBank, vector: Vectors, mode: Any) -> Any:
        return bank.query("churning", vector=vector, k=1_000, mode=mode)

    with MemoryBank("bench", store=file, embedding=None, timeout=120.0) as bank:
        threads = [threading.Thread(target=work, args=(seed, bank)) for seed in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return counted


BARS = {
    "ingest_per_cpu_s": ("≥", 20_000),
    "last_to_first_thousand": ("≤", 1.1),
    "vector_p50_cpu_ms": ("≤", 1.5),
    "recall_at_10": ("≥", 0.98),
    "bytes_per_chunk_beside_text": ("≤", 5_000),
    "open_cpu_s": ("≤", 0.5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--churn", type=float, default=0.0)
    parser.add_argument("--churner", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.churner:
        print(json.dumps(churner(given.churner, given.churn)))
        return
    results = [churn(given.churn)] if given.churn else [measure(count) for count in given.chunks]
    if given.json:
        print(json.dumps(results, indent=2))
        return
    for result in results:
        for name, value in result.items():
            sign, bar = BARS.get(name, ("", ""))
            print(f"{name:30} {value:12,.3f}   {sign} {bar}")
        print()


if __name__ == "__main__":
    main()
