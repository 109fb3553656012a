"""`agentic prompts`: named, versioned templates."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

from .options import opened_store, store_option
from .text import cleaned

if TYPE_CHECKING:
    from ..prompts import Prompt, PromptStore

json_option = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


@click.group("prompts")
def command() -> None:
    """Lists, shows, compares, changes and rolls back prompts.

    A prompt is a template with declared variables, {{so}}; an agent takes it as prompt="NAME@VERSION". (What a model
    was really sent is shown by `agentic prompt show`.)
    """


@command.command("ls")
@click.argument("name", required=False)
@store_option
@json_option
def list_prompts(name: str | None, store: str, as_json: bool) -> None:
    """Lists all prompts, or all versions of prompt NAME."""
    with _prompts(store) as prompts:
        found = prompts.list() if name is None else prompts.versions(name)
    if as_json:
        click.echo(json.dumps([_as_data(one) for one in found], ensure_ascii=False))
        return
    from .tables import print_table

    rows = [
        (
            one.ref,
            "default" if one.default else "",
            f"{one.created_at.astimezone():%Y-%m-%d %H:%M}",
            ", ".join(one.variables),
            one.note,
        )
        for one in found
    ]
    print_table(("prompt", "", "made", "variables", "note"), rows, empty="No prompts yet.")


@command.command("show")
@click.argument("ref", metavar="NAME[@VERSION]")
@store_option
@json_option
def show_prompt(ref: str, store: str, as_json: bool) -> None:
    """Prints a prompt's template; without a version the default one's."""
    with _prompts(store) as prompts:
        found = prompts.get(ref)
    if as_json:
        click.echo(json.dumps(_as_data(found), ensure_ascii=False))
    else:
        click.echo(cleaned(found.template) if sys.stdout.isatty() else found.template)


class _Version(click.IntRange):
    """A version's number, alone or behind the prompt's name."""

    name = "version"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reads `2`, or `greeter@2` where the prompt is `greeter`."""
        if ctx is not None and isinstance(value, str):
            value = value.removeprefix(f"{ctx.params['name'].partition('@')[0]}@")
        return super().convert(value, param, ctx)


@command.command("diff")
@click.argument("name")
@click.argument("old", type=_Version(1), required=False)
@click.argument("new", type=_Version(1), required=False)
@store_option
@json_option
def diff_prompts(name: str, old: int | None, new: int | None, store: str, as_json: bool) -> None:
    """Shows what changed between versions OLD and NEW; by default between the newest and the one before it.

    NAME@OLD and NAME@NEW will do, too.
    """
    from ..types.prompts import prompt_ref

    name, given = prompt_ref(name)
    if given is not None and new is None:
        old, new = given, old
    with _prompts(store) as prompts:
        changes = prompts.diff(name, old, new)
    if as_json:
        click.echo(json.dumps({"name": name, "diff": changes}, ensure_ascii=False))
    elif changes:
        click.echo(cleaned(changes))


@command.command("set")
@click.argument("name")
@click.argument("file", type=click.File(encoding="utf-8"), default="-")
@click.option("--var", "variables", multiple=True, metavar="NAME", help="A variable of the template. Repeatable.")
@click.option("--note", default="", metavar="TEXT", help="Why this version is made.")
@click.option("--no-default", "default", flag_value=False, default=True, help="Leave the default version as it is.")
@store_option
@json_option
def set_prompt(
    *, name: str, file: TextIO, variables: tuple[str, ...], note: str, default: bool, store: str, as_json: bool
) -> None:
    """Adds a version of prompt NAME from FILE or stdin, and makes it the default."""
    from ..types.errors import InvalidInput

    try:
        template = file.read()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The template is no UTF-8 text: {error}.") from None
    with _prompts(store) as prompts:
        _tell(prompts.set(name, template, variables=variables, note=note, default=default), as_json)


@command.command("rollback")
@click.argument("name")
@click.argument("version", type=click.IntRange(1), required=False)
@store_option
@json_option
def rollback_prompt(name: str, version: int | None, store: str, as_json: bool) -> None:
    """Makes VERSION of prompt NAME, or NAME@VERSION, the default; without it the one before the present default."""
    from ..types.prompts import prompt_ref

    name, given = prompt_ref(name)
    with _prompts(store) as prompts:
        _tell(prompts.rollback(name, version or given), as_json)


@contextmanager
def _prompts(store: str) -> Iterator[PromptStore]:
    from ..prompts import PromptStore

    prompts = PromptStore(opened_store(store))
    try:
        yield prompts
    finally:
        prompts.close()


def _tell(prompt: Prompt, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_as_data(prompt), ensure_ascii=False))
    else:
        click.echo(f"{prompt.ref} is {'the default' if prompt.default else 'not the default'}.", err=True)


def _as_data(prompt: Prompt) -> dict[str, object]:
    from ..types.serialise import to_dict

    return {"ref": prompt.ref, **to_dict(prompt)}
