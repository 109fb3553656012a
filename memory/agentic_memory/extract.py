"""Asking a model what a text says, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agentic.inference import complete
from agentic.protocols import Inference
from agentic.recall import quoted
from agentic.types.content import storable
from agentic.types.errors import InvalidResponse
from agentic.types.messages import SystemMessage, UserMessage
from agentic.types.sampling import InferenceRequest, SamplingParams

LONGEST_MATERIAL = 12_000
"""What of a text a model is shown, in characters."""


async def ask(model: Inference, instructions: str, material: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Has a model read some text and answer with a JSON object.

    Args:
        model: The model.
        instructions: What to look for. The schema is added to them, for models that are not held to it.
        material: The text; it is quoted, as data.
        schema: The JSON schema of the answer.

    Raises:
        InvalidResponse: The answer is no JSON object.
        InferenceError: In any of its kinds.
    """
    told = f"{instructions}\nAnswer with JSON that fits this schema and nothing else: {json.dumps(schema)}"
    request = InferenceRequest(
        messages=(SystemMessage(told), UserMessage(quoted(storable(material)[:LONGEST_MATERIAL]))),
        sampling=SamplingParams(max_tokens=2048),
        response_format=schema,
    )
    completion = await complete(model, await model.prepare(request))
    text = completion.message.content
    try:
        answer = json.loads(text[text.index("{") : text.rindex("}") + 1])
    except (ValueError, RecursionError):
        raise InvalidResponse(f"{model.model} was asked for JSON and wrote {text[:200]!r}.") from None
    if not isinstance(answer, dict):
        raise InvalidResponse(f"{model.model} was asked for a JSON object and wrote {text[:200]!r}.")
    return answer


def texts_in(value: Any, *, most: int, longest: int) -> list[str]:
    """The texts of a list that a model wrote: on one line each, no longer and no more than told, each once."""
    listed = value if isinstance(value, list) else []
    lines = (" ".join(storable(item).split())[:longest] for item in listed if isinstance(item, str))
    return [line for line in dict.fromkeys(lines) if line][:most]
