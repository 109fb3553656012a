"""Markdown images and links that carry data away: an image is fetched as soon as its answer is shown.

What counts: an address with a blank to be filled in, one with readable text in base64 or hexadecimal, one with words or
with something from the conversation in its query (images only, and whatever else HTML fetches by itself), one with a
user name, or one that is spelled so that it does not look like one. Pictures at plain addresses, and sizes, versions,
hashes and signatures in a query, carry nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterator
from urllib.parse import SplitResult, parse_qsl, unquote, unquote_plus, urlsplit

from .finding import Finding

_PART = r"(?:[{\[<][^\n(){}\[\]<>]{1,80}+[}\]>]|\([^\s()]{0,200}+\)|[^\s()<>\"'])"  # a blank may hold spaces
_SLASHES = r"(?:https?:[/\\]{1,4}|//)"  # to a browser both are slashes, however many there are
_URL = rf"(?P<url>{_SLASHES}{_PART}{{1,4000}}+)"
_ALT = r"(?:[^\[\]]|\[[^\[\]]{0,200}+\]){0,400}+"
_TARGET = rf"\(\s{{0,4}}<?{_URL}>?(?:\s[^()\n]{{0,200}}+)?\)"
_IMAGE = re.compile(rf"!\[{_ALT}\]{_TARGET}", re.IGNORECASE)
_LINK = re.compile(rf"(?<!!)\[[^\[\]]{{0,400}}+\]{_TARGET}", re.IGNORECASE)
_DISGUISED = re.compile(rf"!\[{_ALT}\]\(\s{{0,4}}<?[^\s()<>&]{{0,12}}+&(?:#|colon|sol)", re.IGNORECASE)
_REFERENCE = re.compile(rf"(?m)^ {{0,3}}\[(?P<label>[^\[\]\n]{{1,100}})\]:[ \t]{{1,8}}<?{_URL}>?", re.IGNORECASE)
_IMAGE_LABEL = re.compile(rf"!\[({_ALT})\](?:\[([^\[\]\n]{{1,100}})\])?")
_HTML = re.compile(
    r"<(?:img|image|input|video|audio|source|track|iframe|embed|object|link|script)\b[^<]{0,400}?"
    rf"\b(?:src|srcset|href|poster|data)\s{{0,4}}=\s{{0,4}}[\"']?{_URL}[^<>]{{0,400}}+>?",
    re.IGNORECASE,
)
_STYLE = re.compile(rf"\burl\(\s{{0,4}}[\"']?{_URL}[\"']?\s{{0,4}}\)?", re.IGNORECASE)

_BLANK = re.compile(
    r"\{[^{}]{1,80}\}|%7[Bb].{1,80}?%7[Dd]|\$[A-Z_]{3,40}|<[A-Za-z_ ]{2,60}>|\[[A-Za-z_ ]{3,60}\]"
    r"|=(?:YOUR_|THE_)?(?:DATA|SECRET|PASSWORD|TOKEN|CONVERSATION|HISTORY|SUMMARY|API_?KEY|SYSTEM_PROMPT)\b"
)
_SIZED = re.compile(r"\{[hwxyz]\}|\{-?[xyz]\}|\{s\}|\{width\}|\{height\}", re.IGNORECASE)
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{12,4000}={0,2}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}){6,2000}")
_AUTHORITY = re.compile(r"^(https?:)?[/\\]+", re.IGNORECASE)
_EXTENSION = re.compile(r"\.[A-Za-z]{2,5}$")
_ADDRESS = re.compile(r"(?<=//)[^\s()<>\"']{1,4000}+")
_SHORTEST = 8  # characters of the conversation in an address that are no coincidence
_MOST_LOOKED_UP = 200


def exfiltration(text: str, hosts: Collection[str], said: str | None) -> Iterator[Finding]:
    """Images and links that carry data away.

    Args:
        text: Markdown.
        hosts: Sites that may get anything, and those below them.
        said: The conversation before it, for what a model writes; None for what others write.
    """
    shown = {(label or alt).lower() for alt, label in _IMAGE_LABEL.findall(text)}
    found = [(one, True) for pattern in (_IMAGE, _HTML, _STYLE) for one in pattern.finditer(text)]
    found += [(one, False) for one in _LINK.finditer(text)]
    found += [(one, one["label"].lower() in shown) for one in _REFERENCE.finditer(text)]
    before = _Said((found and said) or "")
    for one, image in found:
        if _carries(one["url"], hosts, before, image=image):
            yield Finding("exfiltration", *one.span())
    for one in _DISGUISED.finditer(text):
        yield Finding("exfiltration", *one.span())


class _Said:
    """The conversation before an answer."""

    def __init__(self, text: str) -> None:
        self._text = text.lower()
        self._urls = {found.group() for found in _ADDRESS.finditer(text)}
        self._left = _MOST_LOOKED_UP

    def __contains__(self, value: str) -> bool:
        """Whether it has a query's value; nobody shows so many pictures that it would not be looked up any more."""
        if not self._text or len(value) < _SHORTEST or value.isdigit():
            return False
        self._left -= 1
        return self._left < 0 or value.lower() in self._text

    def gave(self, url: str) -> bool:
        """Whether it has the whole address: then the model has added nothing."""
        return url.partition("//")[2] in self._urls


def _carries(url: str, hosts: Collection[str], said: _Said, *, image: bool) -> bool:
    url = _AUTHORITY.sub(r"\1//", url)
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return True
    if any(host == allowed or host.endswith(f".{allowed}") for allowed in hosts):
        return False
    if said.gave(url):
        return False
    blank = any(not _SIZED.fullmatch(found.group()) for found in _BLANK.finditer(unquote(url)))
    if parts.username is not None or blank:
        return True
    pieces = list(_pieces(parts))
    if any(_decodes(piece, needs_words=not image) for piece in pieces):
        return True
    return image and any(_tells(value, said) for value in _values(parts))


def _pieces(parts: SplitResult) -> Iterator[str]:
    """Everything in an address that can hold encoded text."""
    yield from (parts.hostname or "").split(".")
    yield from (_EXTENSION.sub("", piece) for piece in unquote(parts.path).split("/"))
    yield from _values(parts)


def _values(parts: SplitResult) -> Iterator[str]:
    for query in (parts.query, parts.fragment):
        pairs = parse_qsl(query, keep_blank_values=True)
        yield from (value or name for name, value in pairs[:100])


def _tells(value: str, said: _Said) -> bool:
    """Whether a query's value is prose, an address, or out of the conversation."""
    value = unquote_plus(value)
    if len(value.split()) >= 3 or re.search(r"\w@[\w-]{1,60}\.\w", value):
        return True
    return value in said


def _decodes(piece: str, *, needs_words: bool) -> bool:
    """Whether a piece is readable text in hexadecimal or base64; sites name their own things so, but not in words."""
    if _HEX.fullmatch(piece) and _readable(bytes.fromhex(piece), needs_words=needs_words):
        return True
    if not _ENCODED.fullmatch(piece):
        return False
    bare = piece.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return _readable(data, needs_words=needs_words)


def _readable(data: bytes, *, needs_words: bool) -> bool:
    """Printable ASCII that is no address itself: links that redirect name their goal like that."""
    if len(data) < 6 or not data.isascii() or not data.decode("ascii").isprintable() or b"://" in data[:10]:
        return False
    return not needs_words or any(mark in data for mark in (b" ", b"=", b"@"))
