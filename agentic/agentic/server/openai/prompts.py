"""`/v1/prompts`: the prompt store."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AliasChoices, BaseModel, Field

from ...prompts import Prompt, PromptStore
from ...types.errors import SessionBusy
from ..services import Use
from . import new_id

router = APIRouter(prefix="/v1/prompts", tags=["Prompts"])

Version = Annotated[int, Field(ge=1, le=2**31)]
Template = Annotated[str, Field(min_length=1, validation_alias=AliasChoices("prompt", "template"))]


class NewPrompt(BaseModel):
    """A first version.

    Attributes:
        prompt: The template (also `template`); `{{name}}` stands for a variable.
        variables: The names of the variables.
        prompt_id: The prompt's name (also `name`); letters, digits, `.`, `_` and `-`. Default: one is made up.
        note: Why it was made.
    """

    prompt: Template
    variables: list[str] | None = None
    prompt_id: Annotated[str | None, Field(validation_alias=AliasChoices("prompt_id", "name"))] = None
    note: str = ""


class NewVersion(BaseModel):
    """The next version.

    Attributes:
        prompt: The template (also `template`).
        version: The newest version that the client knows; another one is a conflict. Default: not looked at.
        variables: The names of the variables.
        set_as_default: Whether it becomes the default.
        note: Why it was made.
    """

    prompt: Template
    version: Version | None = None
    variables: list[str] | None = None
    set_as_default: bool = True
    note: str = ""


class Chosen(BaseModel):
    """A version."""

    version: Version


class Earlier(BaseModel):
    """A version to go back to; default: the one before the present default."""

    version: Version | None = None


@router.get("")
async def list_prompts(services: Use) -> dict[str, Any]:
    """The default version of every prompt, by name."""
    return {"data": [_shown(one) for one in await PromptStore(services.store).alist()]}


@router.post("")
async def create(body: NewPrompt, services: Use) -> dict[str, Any]:
    """Makes a prompt, or adds a version to the one of that name."""
    name = body.prompt_id if body.prompt_id is not None else new_id("pmpt_")
    prompts = PromptStore(services.store)
    return _shown(await prompts.aset(name, body.prompt, variables=body.variables or (), note=body.note))


@router.get("/{prompt_id}")
async def retrieve(prompt_id: str, services: Use, version: Version | None = None) -> dict[str, Any]:
    """A version of a prompt; without a number the default one."""
    ref = prompt_id if version is None else f"{prompt_id}@{version}"
    return _shown(await PromptStore(services.store).aget(ref))


@router.post("/{prompt_id}")
@router.put("/{prompt_id}")
async def update(prompt_id: str, body: NewVersion, services: Use) -> dict[str, Any]:
    """Adds a version."""
    prompts = PromptStore(services.store)
    newest = (await prompts.aversions(prompt_id))[-1].version
    if body.version is not None and body.version != newest:
        raise SessionBusy(f"The newest version of {prompt_id!r} is {newest}, not {body.version}.")
    added = await prompts.aset(
        prompt_id, body.prompt, variables=body.variables or (), note=body.note, default=body.set_as_default
    )
    return _shown(added)


@router.delete("/{prompt_id}")
async def delete(prompt_id: str, services: Use) -> None:
    """Removes a prompt with all its versions."""
    await PromptStore(services.store).adelete(prompt_id)


@router.get("/{prompt_id}/versions")
async def versions(prompt_id: str, services: Use) -> dict[str, Any]:
    """All versions of a prompt, in order."""
    return {"data": [_shown(one) for one in await PromptStore(services.store).aversions(prompt_id)]}


@router.get("/{prompt_id}/diff")
async def diff(prompt_id: str, services: Use, old: Version | None = None, new: Version | None = None) -> dict[str, Any]:
    """What changed between two versions, as a unified diff."""
    return {"diff": await PromptStore(services.store).adiff(prompt_id, old, new)}


@router.put("/{prompt_id}/set-default-version")
@router.post("/{prompt_id}/set-default-version")
async def choose(prompt_id: str, body: Chosen, services: Use) -> dict[str, Any]:
    """Makes a version the default."""
    return _shown(await PromptStore(services.store).arollback(prompt_id, body.version))


@router.post("/{prompt_id}/rollback")
async def rollback(prompt_id: str, services: Use, body: Earlier | None = None) -> dict[str, Any]:
    """Makes an earlier version the default again."""
    return _shown(await PromptStore(services.store).arollback(prompt_id, body.version if body else None))


def _shown(prompt: Prompt) -> dict[str, Any]:
    return {
        "prompt_id": prompt.name,
        "version": prompt.version,
        "prompt": prompt.template,
        "variables": list(prompt.variables),
        "is_default": prompt.default,
        "note": prompt.note,
        "created_at": int(prompt.created_at.timestamp()),
    }
