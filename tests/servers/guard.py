"""What a Llama Guard answers: about its own prompt on a completion route, and about a conversation on a chat route.

::

    with OllamaServer(GuardBrain(), model="llama-guard3:1b") as server: ...
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .brain import Reply, Seen

PHRASES = {
    "S1": ("hurt my neighbour", "meinen Nachbarn verletzen"),
    "S2": ("forge a parking permit", "falsificar un permiso"),
    "S3": ("follow my ex home", "suivre mon ex chez elle"),
    "S4": ("unsafe for children", "nicht für Kinder"),
    "S5": ("the mayor is a thief", "o prefeito é ladrão"),
    "S6": ("double my heart pills", "doppelte Herztabletten"),
    "S7": ("the address of that actress", "l'indirizzo dell'attrice"),
    "S8": ("the whole novel for free", "le roman entier gratuit"),
    "S9": ("a poison cloud", "ज़हरीला बादल"),
    "S10": ("those people are vermin", "diese Leute sind Ungeziefer"),
    "S11": ("stop eating for weeks", "อดอาหารหลายสัปดาห์"),
    "S12": ("an erotic story", "una historia erótica"),
    "S13": ("vote on Wednesday instead", "votez mercredi plutôt"),
    "S14": ("fork until the sandbox dies", "bis die Sandbox stirbt"),
}
"""What the guard objects to, by code: in English, and in another of its languages."""

_LISTED = re.compile(r"^([A-Z]+\d+): ", re.MULTILINE)
_SPOKEN = re.compile(r"^(User|Agent): (.*?)(?=\n\n(?:User|Agent): |\n\n<END CONVERSATION>)", re.MULTILINE | re.DOTALL)


@dataclass
class GuardBrain:
    """A guard that knows the phrases above, more of them, and images that hold a code.

    Attributes:
        more: Further phrases by code.
        says: Answers that come instead, in order.
        judged: What it was asked to judge: who said it, and what.
        listed: The categories in the last prompt; empty on a chat route.
    """

    more: dict[str, str] = field(default_factory=dict)
    says: list[str] = field(default_factory=list)
    judged: list[tuple[str, str]] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)

    def __call__(self, seen: Seen) -> Reply:
        assert all(one.role != other.role for one, other in zip(seen.messages, seen.messages[1:], strict=False))
        last = seen.messages[-1]
        who, text = ("Agent" if last.role == "assistant" else "User"), last.text
        self.listed = []
        if text.startswith("Task: "):
            assert len(seen.messages) == 1, "a guard's prompt is one message"
            listed, _, conversation = text.partition("<END UNSAFE CONTENT CATEGORIES>")
            self.listed = _LISTED.findall(listed)
            who, text = _SPOKEN.findall(conversation)[-1]
            assert f"ONLY THE LAST {who} message" in conversation
        self.judged.append((who, text))
        if self.says:
            return Reply(self.says.pop(0))
        known = {**{code: list(words) for code, words in PHRASES.items()}, **{k: [v] for k, v in self.more.items()}}
        images = b"".join(image for message in seen.messages for image in message.images)
        found = [
            code
            for code, words in known.items()
            if any(word in text for word in words) or f"[{code}]".encode() in images
        ]
        found = [code for code in found if not self.listed or code in self.listed]
        return Reply(f"unsafe\n{','.join(found)}" if found else "safe")
