"""The prompt store: named, versioned templates, kept beside the sessions.

```python
prompts = PromptStore()                     # the same default store as an Agent's
prompts.set("greeter", "You greet {{person}}.", variables=["person"])
Agent(prompt="greeter@1", variables={"person": "Ada"})
```

`set` adds a version and makes it the default, `rollback` makes an older one the default again; no version ever
changes. Each method has an async form with the letter `a` before its name.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from .portal import run_sync
from .store import KeepsPrompts, Store, open_store
from .store.prompts import no_prompt
from .types.errors import ConfigError, InvalidInput
from .types.prompts import Prompt, check_prompt_name, prompt_ref

__all__ = ["Prompt", "PromptStore"]


class PromptStore:
    """Named, versioned templates.

    Args:
        store: Where they are kept: a path, a URL, a `Store`, or None for memory only, as for `Agent(store=…)`.

    Raises:
        ConfigError: The store keeps no prompts.
    """

    def __init__(self, store: Store | str | Path | None = "default") -> None:
        self._store = open_store(store)
        if not isinstance(self._store, KeepsPrompts):
            raise ConfigError(f"A {type(self._store).__name__} keeps no prompts.")
        self._prompts = self._store.prompts

    async def aset(
        self, name: str, template: str, *, variables: Sequence[str] = (), note: str = "", default: bool = True
    ) -> Prompt:
        """Adds a version of a prompt, the first one or the next.

        Args:
            name: Letters, digits, `.`, `_` and `-`.
            template: Text; `{{name}}` stands for a variable.
            variables: The names of the variables; the template may not name others.
            note: Why this version was made.
            default: Whether it becomes the default; a first version always does.

        Raises:
            InvalidInput: A name is malformed, or the template names an undeclared variable.
        """
        draft = Prompt(
            name=name,
            version=0,
            template=template,
            variables=variables,  # type: ignore[arg-type] # it makes a tuple of them
            note=note,
            default=default,
        )
        return await self._prompts.add(draft)

    async def aget(self, ref: str) -> Prompt:
        """A version by `name@version`, or the default one by `name`.

        Raises:
            NotFound: There is no such prompt or version.
            InvalidInput: That is no reference.
        """
        name, wanted = prompt_ref(ref)
        for prompt in await self._prompts.versions(name):
            if prompt.default if wanted is None else prompt.version == wanted:
                return prompt
        raise no_prompt(name, wanted)

    async def alist(self) -> Sequence[Prompt]:
        """The default version of every prompt, by name."""
        return await self._prompts.all()

    async def aversions(self, name: str) -> Sequence[Prompt]:
        """All versions of a prompt, in order.

        Raises:
            NotFound: There is no such prompt.
        """
        if not (versions := await self._prompts.versions(check_prompt_name(name))):
            raise no_prompt(name)
        return versions

    async def adiff(self, name: str, old: int | None = None, new: int | None = None) -> str:
        """What changed between two versions, as a unified diff; empty when nothing did.

        Args:
            name: The prompt.
            old: A version; default: the one before `new`.
            new: A version; default: the newest.

        Raises:
            NotFound: There is no such prompt or version.
        """
        versions = {one.version: one for one in await self.aversions(name)}
        after = max(versions) if new is None else new
        before = max((number for number in versions if number < after), default=after) if old is None else old
        for number in (before, after):
            if number not in versions:
                raise no_prompt(name, number)
        one, other = versions[before], versions[after]
        return "\n".join(difflib.unified_diff(_lines(one), _lines(other), one.ref, other.ref, lineterm=""))

    async def arollback(self, name: str, to: int | None = None) -> Prompt:
        """Makes another version the default; no version is lost.

        Args:
            name: The prompt.
            to: The version; default: the one before the present default.

        Raises:
            NotFound: There is no such prompt or version.
            InvalidInput: There is no earlier version.
        """
        versions = await self.aversions(name)
        if to is None:
            present = next(one.version for one in versions if one.default)
            earlier = [one.version for one in versions if one.version < present]
            if not earlier:
                raise InvalidInput(f"{name}@{present} is the first version: there is none to go back to.")
            to = earlier[-1]
        await self._prompts.choose(name, to)
        return await self.aget(f"{name}@{to}")

    async def adelete(self, name: str) -> None:
        """Removes a prompt with all its versions; a new prompt of that name goes on counting where this one ended.

        Raises:
            NotFound: There is no such prompt.
        """
        await self._prompts.remove(check_prompt_name(name))

    async def aclose(self) -> None:
        """Closes the store."""
        await self._store.aclose()

    def set(
        self, name: str, template: str, *, variables: Sequence[str] = (), note: str = "", default: bool = True
    ) -> Prompt:
        """Adds a version; see `aset`."""
        return run_sync(self.aset(name, template, variables=variables, note=note, default=default))

    def get(self, ref: str) -> Prompt:
        """One version; see `aget`."""
        return run_sync(self.aget(ref))

    def list(self) -> Sequence[Prompt]:
        """The default version of every prompt; see `alist`."""
        return run_sync(self.alist())

    def versions(self, name: str) -> Sequence[Prompt]:
        """All versions of a prompt; see `aversions`."""
        return run_sync(self.aversions(name))

    def diff(self, name: str, old: int | None = None, new: int | None = None) -> str:
        """What changed between two versions; see `adiff`."""
        return run_sync(self.adiff(name, old, new))

    def rollback(self, name: str, to: int | None = None) -> Prompt:
        """Makes another version the default; see `arollback`."""
        return run_sync(self.arollback(name, to))

    def delete(self, name: str) -> None:
        """Removes a prompt; see `adelete`."""
        run_sync(self.adelete(name))

    def close(self) -> None:
        """Closes the store."""
        run_sync(self.aclose())


def _lines(prompt: Prompt) -> Sequence[str]:
    head = [f"variables: {', '.join(prompt.variables)}"] if prompt.variables else []
    return [*head, *prompt.template.splitlines()]
