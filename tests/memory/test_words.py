"""Words of scripts that put no spaces between them, in new banks and in those of an earlier version."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import create_engine, text

from agentic_memory import KeywordBank, MemoryBank
from agentic_memory.rows.pairs import asked, paired
from agentic_memory.rows.schema import words_of_bank
from postgres import PostgreSQL

TEXTS = {
    "tokyo": "東京都は日本の首都であり、人口は約1400万人です。",
    "beijing": "北京是中华人民共和国的首都。",
    "seoul": "서울은 대한민국의 수도이다.",
    "cat": "吾輩は猫である。",
    "case": "iPhone用のケース",
    "english": "Tokyo is the capital of Japan.",
}
FOUND = [
    ("日本", ["tokyo"]),
    ("日本の首都はどこですか", ["tokyo", "beijing"]),
    ("人民共和国", ["beijing"]),
    ("서울", ["seoul"]),
    ("猫", ["cat"]),
    ("国", ["beijing"]),
    ("iphone", ["case"]),
    ("ケース", ["case"]),
    ("capitals", ["english"]),
    ("大阪", []),
]


def check(bank: MemoryBank) -> None:
    for query, expected in FOUND:
        found = [(hit.document_id, hit.text) for hit in bank.query(query, mode="keyword")]
        assert (query, found) == (query, [(id, TEXTS[id]) for id in expected])


def test_the_pairs_of_a_text_and_of_a_question() -> None:
    assert paired("Nur Wörter. ") is None
    assert paired("A東京都!猫") == "A 東京 京都 都 ! 猫 "
    assert asked("A東京都!猫") == "A 東京 京都 ! 猫 "


def test_words_within_a_run_of_characters_are_found(tmp_path: Path) -> None:
    with KeywordBank("words", store=tmp_path / "m.db") as bank:
        bank.add_texts(TEXTS.values(), ids=TEXTS)
        check(bank)
        bank.update("cat", text="犬である。")
        assert (bank.query("猫"), bank.query("犬")[0].document_id) == ((), "cat")
        assert bank.delete("tokyo") == 1
        assert not bank.query("日本")
        assert bank.verify().ok


def test_a_bank_of_the_first_version_is_indexed_anew(tmp_path: Path) -> None:
    file = tmp_path / "m.db"
    for name in ("words", "other"):
        with KeywordBank(name, store=file) as bank:
            bank.add_texts(TEXTS.values(), ids=TEXTS)
    with closing(sqlite3.connect(file)) as old:
        for number in (1, 2):
            old.execute(f"DROP VIEW agentic_bank_text_{number}")
            old.execute(words_of_bank(number)[0].replace("coalesce(words, text) AS text", "text"))
            old.execute(f"INSERT INTO agentic_bank_words_{number} (agentic_bank_words_{number}) VALUES ('rebuild')")
        old.execute("ALTER TABLE agentic_bank_chunks DROP COLUMN words")
        old.execute("UPDATE agentic_bank_version SET version = 1")
        old.commit()
    for name in ("words", "other"):
        with KeywordBank(name, store=file) as bank:
            check(bank)
            assert bank.verify().ok
            assert bank.clear() == len(TEXTS)


def test_the_same_on_postgresql(postgresql: PostgreSQL) -> None:
    with postgresql.database() as url:
        with KeywordBank("words", store=url) as bank:
            bank.add_texts(TEXTS.values(), ids=TEXTS)
            check(bank)
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.begin() as old:
            old.execute(text("ALTER TABLE agentic_bank_chunks DROP COLUMN words"))  # and the index with it
            old.execute(text("CREATE INDEX agentic_bank_words ON agentic_bank_chunks (id)"))
            old.execute(text("UPDATE agentic_bank_version SET version = 1"))
        engine.dispose()
        with KeywordBank("words", store=url) as bank:
            check(bank)
