"""Words in scripts that put no spaces between them: Chinese, Japanese and, for its endings, Korean.

A run of their characters is indexed by its pairs, each from the next character on: 東京都 as 東京, 京都 and 都. So each
character begins one entry: a question of two characters or more is looked up by its pairs, and one of a single
character by what an entry begins with.
"""

from __future__ import annotations

import re

_RUN = re.compile(
    "["
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u31f0-\u31ff\uff66-\uff9f"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
    "\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3"  # Hangul
    "]+"
)


def paired(text: str) -> str | None:
    """A text as it is indexed; None where that is the text itself."""
    if text.isascii() or not _RUN.search(text):
        return None
    return _RUN.sub(lambda run: f" {' '.join(_pairs(run[0]))} ", text)


def asked(query: str) -> str:
    """A question with the pairs to look up."""
    return query if query.isascii() else _RUN.sub(lambda run: f" {' '.join(_pairs(run[0])[:-1] or run[0])} ", query)


def begins(word: str) -> bool:
    """Whether a word of a question is what an entry begins with."""
    return len(word) == 1 and _RUN.match(word) is not None


def _pairs(run: str) -> list[str]:
    return [run[place : place + 2] for place in range(len(run))]
