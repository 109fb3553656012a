"""`agentic models`: what can run in this process, and what of it is here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import exits

if TYPE_CHECKING:
    from ..models import Model, Source

as_json_option = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


@click.group("models", epilog=exits.TABLE)
def command() -> None:
    """Models that run in this process: list, fetch, remove."""


@command.command("ls")
@as_json_option
def list_models(as_json: bool) -> None:
    """Lists the models known by name, and which are here."""
    from ..models import listed, located
    from .tables import print_table

    found = [(model, located(model)) for model in listed()]
    if as_json:
        click.echo(json.dumps([_data(model, files) for model, files in found], ensure_ascii=False, indent=2))
        return
    rows = [
        (model.name, model.kind, _size(model), model.licence, "yes" if files else "no", model.about)
        for model, files in found
    ]
    print_table(("name", "kind", "size", "licence", "here", "about"), rows, empty="No models.")


@command.command("pull")
@click.argument("name")
@click.option("--from", "source", default="", help="A URL, a file, or hf:OWNER/REPO/FILE, kept under NAME.")
@click.option("--sha256", default="", help="The hash that the file from --from must have.")
@as_json_option
def pull_model(name: str, source: str, sha256: str, as_json: bool) -> None:
    """Fetches a model; a transfer that was cut off goes on where it was.

    NAME is one of `agentic models ls`; with --from it is a new name for a GGUF file of your choice. Without --sha256
    such a file is taken as it comes, and its hash is kept; Hub files are checked against the Hub's own hash.
    """
    from ..models import added, find, pull

    model = added(name, source_of(source), sha256 or None) if source else find(name)
    path = pull(model)
    click.echo(json.dumps(_data(model, {path.name: path})) if as_json else path)


def source_of(text: str) -> Source:
    """Reads what `--from` may say."""
    from ..models import Hub, LocalFile, Url

    if text.startswith("hf:"):
        owner, repo, path = [*text.removeprefix("hf:").split("/", 2), "", ""][:3]
        if not path:
            raise click.BadParameter("A Hub file is written hf:OWNER/REPO/FILE.", param_hint="--from")
        return Hub(f"{owner}/{repo}", path)
    if text.startswith(("http://", "https://")):
        return Url(text)
    return LocalFile(str(Path(text).expanduser().absolute()))


@command.command("rm")
@click.argument("name")
@as_json_option
def remove_model(name: str, as_json: bool) -> None:
    """Removes a model's files."""
    from ..models import find, remove

    model = find(name)
    gone = remove(model)
    if as_json:
        click.echo(json.dumps({"name": model.name, "removed": gone}))
    else:
        click.echo(f"{model.name} is removed." if gone else f"{model.name} was not here.")


@command.command("path")
@click.argument("name")
@as_json_option
def show_path(name: str, as_json: bool) -> None:
    """Prints where a model's file is; fails when it was not fetched."""
    from ..models import find, model_path

    model = find(name)
    path = model_path(model)
    click.echo(json.dumps(_data(model, {path.name: path})) if as_json else path)


def _data(model: Model, files: dict[str, Path] | None) -> dict[str, Any]:
    return {
        "name": model.name,
        "kind": model.kind,
        "bytes": model.size or None,
        "licence": model.licence,
        "family": model.family,
        "context": model.context,
        "chat_format": model.chat_format,
        "tool_strategy": model.tool_strategy,
        "about": model.about,
        "here": files is not None,
        "path": str(next(iter(files.values()))) if files else None,
    }


def _size(model: Model) -> str:
    return f"{model.size / 1e6:,.0f} MB" if model.size else "?"
