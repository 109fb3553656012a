"""Sentences that tell a model to drop its instructions: orders only, not sentences about such orders.

An order begins a sentence, or follows "you must", "please" and the like; in quotation marks it is talked about. The
languages are English, German, French, Spanish, Portuguese, Italian, Dutch, Polish, Turkish, Russian, Chinese, Japanese
and Korean. What is put in other words is not found here: that takes a classifier, see `PromptGuard`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from unicodedata import normalize

from .finding import Finding

_S = r"[\s,*_]{1,4}"  # Markdown's emphasis is not seen
_LETTERS = (*range(0x2460, 0x2500), *range(0xFF01, 0xFF5F), *range(0x1D400, 0x1D800))
"""Circled, full-width and mathematical letters."""
LOOKALIKES = {
    code: ord(plain) for code in _LETTERS if (plain := normalize("NFKC", chr(code))).isascii() and len(plain) == 1
}
"""Letters that can pass for others, and those others: as many characters as before."""
LOOKALIKES |= str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0456\u0458\u0455\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420"
    "\u0421\u0422\u0425\u03bf\u03b1\u03b9\u039f\u0391\u0399"
    "\u1d00\u0299\u1d04\u1d05\u1d07\ua730\u0262\u029c\u026a\u1d0a\u1d0b\u029f\u1d0d\u0274\u1d0f\u1d18\u0280\ua731\u1d1b\u1d1c\u1d20\u1d21\u028f\u1d22",
    "aeopcxyijsABEKMHOPCTXoaiOAIabcdefghijklmnoprstuvwyz",
)

_DROP = (
    r"(?:ignore|disregard|forget|override|bypass|discard|cancel|erase|set[ ]aside|throw[ ]away"
    r"|pay[ ]no[ ]attention[ ]to|(?:do[ ]not|don'?t)[ ](?:follow|obey)|stop[ ](?:following|obeying))"
)
_DETERMINER = rf"(?:(?:all|any|every|each|of|the|your|these|those|other|and){_S}){{0,4}}"
_EARLIER = r"(?:previous(?:ly)?|prior|above|earlier|preceding|foregoing|former|initial|original|past|given)"
_OWNER = r"(?:system|safety|developer|hidden|built-in|core|security|content)"
_RULES = (
    r"(?:instructions?|directions|directives?|prompts?|rules|guidelines?|guardrails?|commands|orders|constraints"
    r"|restrictions|programming|polic(?:y|ies)|messages?)"
)
_ENGLISH = re.compile(
    r"(?:^|(?<=[\n.!?:;>*#\])}\-\u2013\u2014|,\"]))[ \t]{0,8}"
    rf"(?:(?:please|now|then|so|also|just|simply|first|next|instead|immediately|ok(?:ay)?|hey|important|attention|ai"
    rf"|assistant|kindly|and){_S}){{0,3}}"
    rf"(?:(?:could|can|will|would|please){_S}you{_S}(?:please{_S})?"
    rf"|you{_S}(?:must|should|will|shall|can|may|are[ ]to|have[ ]to|need[ ]to|are[ ]now[ ]to){_S}"
    rf"(?:now{_S}|completely{_S}|please{_S})?|i{_S}(?:want|need|order|command|instruct|require|ask){_S}you{_S}to{_S}|let'?s{_S})?"
    rf"(?P<order>{_DROP}{_S}(?:"
    rf"{_DETERMINER}{_EARLIER}{_S}(?:(?:{_OWNER}|{_EARLIER}|and|or|user|chat|ai){_S}){{0,3}}{_RULES}\b"
    rf"|{_DETERMINER}(?:{_OWNER}{_S}){{1,2}}{_RULES}\b"
    rf"|(?:all{_S}(?:of{_S})?)?your{_S}{_RULES}\b"
    rf"|{_DETERMINER}(?:{_OWNER}{_S})?{_RULES}{_S}(?:given{_S}|written{_S})?(?:above|before[ ]this|so[ ]far)\b"
    rf"|(?:all{_S}|any{_S})?(?:of{_S})?(?:the{_S}|your{_S})?{_RULES}{_S}(?:that{_S})?you{_S}(?:were|have[ ]been|got)\b"
    rf"|(?:absolutely{_S})?(?:everything|all|anything|whatever){_S}"
    rf"(?:that{_S}(?:was|is){_S}|came{_S}|(?:said|written){_S}|you{_S}(?:were|have[ ]been){_S}told{_S})?"
    r"(?:above|before[ ]this|previously|so[ ]far|earlier|before)\b"
    rf"|(?:everything|all|anything|what){_S}(?:that{_S})?you{_S}(?:were|have[ ]been|was|know)\b"
    r"))",
    re.IGNORECASE,
)
_PERSONA = re.compile(
    rf"\byour{_S}(?:{_EARLIER}|{_OWNER}){_S}{_RULES}{_S}(?:no{_S}longer{_S}appl(?:y|ies)|are{_S}(?:now{_S})?(?:void|cancell?ed))\b"
    rf"|\byou{_S}are{_S}(?:now{_S}|no{_S}longer{_S})(?:(?:in|an?|the|running{_S}in|entering){_S}){{0,2}}"
    rf"(?:dan\b|developer{_S}mode|god{_S}mode|jailbroken|jailbreak{_S}mode|unrestricted|uncensored|unfiltered"
    rf"|(?:bound|restricted|limited|constrained|governed){_S}by\b"
    rf"|free{_S}(?:of|from){_S}(?:all{_S}|any{_S}|your{_S}|the{_S}){{0,2}}(?:restrictions|rules|guidelines|filters|limits|polic))",
    re.IGNORECASE,
)
_OTHERS = re.compile(
    r"(?:^|(?<=[\n.!?:;>*#\]\-,]))[ \t]{0,8}(?P<order>"
    # German
    r"(?:bitte\s)?(?:ignorier(?:e|en\ssie)?|vergiss|vergessen\ssie|missachte|missachten\ssie)\s(?:bitte\s|jetzt\s|nun\s)?"
    r"(?:alle[ns]?\s|deine\s|ihre\s|die\s|s\u00e4mtliche[ns]?\s){0,3}"
    r"(?:(?:bisherigen?|vorherigen?|vorigen?|fr\u00fcheren?|obigen?|vorangegangenen?|urspr\u00fcnglichen?)\s)"
    r"(?:anweisungen|instruktionen|regeln|vorgaben|befehle|prompts)\b"
    # French
    r"|(?:veuillez\s)?(?:ignore[zr]?|oublie[zr]?|n[e']\s?t(?:e|enez)[a-z]{0,5}\spas\scompte\sdes?)\s(?:toutes?\s|tous\s|les\s|tes\s|vos\s|des\s){0,3}"
    r"(?:instructions|consignes|r\u00e8gles|directives|ordres)\s(?:pr\u00e9c\u00e9dent|ant\u00e9rieur|ci-dessus|initial|donn\u00e9|du\ssyst\u00e8me)"
    # Spanish
    r"|(?:por\sfavor,?\s)?(?:ignor[ae]n?|olvid[ae]n?|descart[ae]n?)\s(?:todas?\s|todos\s|las\s|los\s|tus\s|sus\s){0,3}"
    r"(?:instrucciones|indicaciones|reglas|\u00f3rdenes|directrices)\s(?:anteriores|previas|de\sarriba|iniciales|del\ssistema)"
    # Portuguese
    r"|(?:por\sfavor,?\s)?(?:ignor[ea]m?|esque\u00e7a[ms]?|desconsidere)\s(?:todas?\s|todos\s|as\s|os\s|suas\s|tuas\s){0,3}"
    r"(?:instru\u00e7\u00f5es|regras|ordens|diretrizes|orienta\u00e7\u00f5es)\s(?:anteriores|pr\u00e9vias|acima|iniciais|do\ssistema)"
    # Italian
    r"|(?:per\sfavore,?\s)?(?:ignor[ai]|ignorate|dimentica|dimenticate)\s(?:tutte\s|tutti\s|le\s|i\s|gli\s|tue\s|vostre\s){0,3}"
    r"(?:istruzioni|regole|direttive|indicazioni|ordini)\s(?:precedenti|sopra|iniziali|di\ssistema|del\ssistema)"
    # Dutch
    r"|(?:negeer|vergeet)\s(?:alsjeblieft\s|nu\s)?(?:alle\s|de\s|je\s|uw\s|jouw\s|al\s){0,3}(?:vorige|eerdere|voorgaande|bovenstaande)\s(?:instructies|opdrachten|regels|aanwijzingen)\b"
    # Polish
    r"|(?:zignoruj|ignoruj|zapomnij\so)\s(?:prosz\u0119\s)?(?:wszystkie\s|wszystkich\s|swoje\s)?(?:poprzednie|poprzednich|wcze\u015bniejsze|wcze\u015bniejszych|powy\u017csze)\s(?:instrukcj|polece|zasad|regu\u0142)"
    # Turkish
    r"|(?:l\u00fctfen\s)?\u00f6nceki\s(?:t\u00fcm\s|b\u00fct\u00fcn\s)?(?:talimatlar\u0131|kurallar\u0131|komutlar\u0131)\s(?:yok\ssay|g\u00f6rmezden\sgel|unut)"
    r"|t\u00fcm\s\u00f6nceki\s(?:talimatlar\u0131|kurallar\u0131|komutlar\u0131)\s(?:yok\ssay|g\u00f6rmezden\sgel|unut)"
    # Russian
    r"|(?:\u043f\u043e\u0436\u0430\u043b\u0443\u0439\u0441\u0442\u0430,?\s)?(?:\u0438\u0433\u043d\u043e\u0440\u0438\u0440\u0443\u0439(?:\u0442\u0435)?|\u0437\u0430\u0431\u0443\u0434\u044c(?:\u0442\u0435)?)\s(?:\u0432\u0441\u0435\s|\u043e\s|\u0432\u0441\u0435\u0445\s|\u0441\u0432\u043e\u0438\s){0,2}"
    r"(?:\u043f\u0440\u0435\u0434\u044b\u0434\u0443\u0449\u0438[\u0435\u0445]|\u043f\u0440\u0435\u0436\u043d\u0438[\u0435\u0445])\s(?:\u0438\u043d\u0441\u0442\u0440\u0443\u043a\u0446\u0438|\u0443\u043a\u0430\u0437\u0430\u043d\u0438|\u043f\u0440\u0430\u0432\u0438\u043b|\u043a\u043e\u043c\u0430\u043d\u0434)"
    r")",
    re.IGNORECASE,
)
_EAST_ASIAN = re.compile(
    r"(?P<order>(?:\u8bf7|\u8acb)?(?:\u5ffd\u7565|\u65e0\u89c6|\u7121\u8996|\u5fd8\u8bb0|\u5fd8\u6389|\u5fd8\u8a18)"
    r"(?:\u4f60)?(?:\u4e4b\u524d|\u4ee5\u4e0a|\u5148\u524d|\u4e0a\u8ff0|\u6240\u6709|\u7684|\u4e00\u5207|\u524d\u9762){1,4}(?:\u6307\u4ee4|\u6307\u793a|\u89c4\u5219|\u898f\u5247|\u63d0\u793a)"
    r"|(?:\u3053\u308c\u307e\u3067|\u4ee5\u524d|\u4e0a\u8a18|\u524d)\u306e(?:\u3059\u3079\u3066\u306e|\u5168\u3066\u306e)?(?:\u6307\u793a|\u547d\u4ee4|\u30eb\u30fc\u30eb)(?:\u3092|\u306f)(?:\u3059\u3079\u3066|\u5168\u3066)?(?:\u7121\u8996\u3057(?:\u3066(?:\u304f\u3060\u3055\u3044|\u3001|\u3002)|\u308d)|\u5fd8\u308c\u3066)"
    r"|\uc774\uc804(?:\uc758)?\s?(?:\ubaa8\ub4e0\s?)?(?:\uc9c0\uc2dc|\uba85\ub839|\uc9c0\uce68)(?:\uc0ac\ud56d)?(?:\uc744|\ub97c|\uc740|\ub294)?\s?(?:\ubaa8\ub450\s?)?\ubb34\uc2dc\ud558(?:\uace0|\uc138\uc694|\ub77c|\uc2ed\uc2dc\uc624))"
)
_QUOTES = "\"'`\u201c\u2018\u00ab\u201e\u300c\u300e\u2039"


def overrides(text: str) -> Iterator[Finding]:
    """Orders to drop instructions, in text without hidden characters."""
    folded = text if text.isascii() else text.translate(LOOKALIKES)
    for pattern, looked_at in ((_ENGLISH, folded), (_PERSONA, folded), (_OTHERS, text), (_EAST_ASIAN, text)):
        for found in pattern.finditer(looked_at):
            start = found.start("order") if "order" in pattern.groupindex else found.start()
            if not set(text[max(0, found.start() - 1) : start]) & set(_QUOTES):
                yield Finding("override", start, found.end())
