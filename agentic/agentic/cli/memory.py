"""`agentic memory`: banks of documents, filled and searched."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click

from ..portal import run_sync
from . import exits
from .session import json_option
from .text import cleaned, one_line

_KINDS = ("vector", "keyword", "keyvalue", "graph")
_OF_DOCUMENTS = _KINDS[:2]

store_option = click.option("--store", default="default", metavar="PATH|URL", help="Where banks are kept.")


@click.group("memory")
def command() -> None:
    """Makes, fills, searches and looks after memory banks."""


@command.command("create")
@click.argument("name")
@click.option("--kind", type=click.Choice(_KINDS), default="vector", show_default=True, help="What sort of bank.")
@click.option("--embedding", metavar="MODEL", help="What makes the vectors of a vector bank. [default: default]")
@store_option
@json_option
def create(name: str, kind: str, embedding: str | None, store: str, as_json: bool) -> None:
    """Makes an empty bank NAME. MODEL is default, wordllama or a model string such as ollama/nomic-embed-text."""
    if embedding is None and kind == "vector":
        embedding = "default"
    with _closing(_shelf(store).create(name, embedding, kind)) as bank:
        _tell({"bank": bank.name, "store": bank.rows.where}, f"Made the bank {bank.name}.", as_json)


@command.command("add", epilog=exits.TABLE)
@click.argument("name")
@click.argument("sources", nargs=-1, required=True)
@store_option
@json_option
@click.pass_context
def add(ctx: click.Context, name: str, sources: tuple[str, ...], store: str, as_json: bool) -> None:
    """Adds SOURCES to bank NAME: files, folders, patterns such as 'docs/**/*.md', and http(s) URLs.

    What is there already, unchanged, costs nothing; a changed document replaces its old version.
    """
    shelf = _shelf(store)
    with _closing(shelf.bank(name)) as bank, _progress(shelf.count(sources)) as progress:
        _check_kind(bank, "Documents are added to")
        try:
            report = bank.add(*sources, progress=progress)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("Stopped. What was stored is kept; the same command goes on from there.") from None
    if as_json:
        click.echo(json.dumps(asdict(report), ensure_ascii=False))
    else:
        for source, why in report.failed.items():
            click.echo(cleaned(why if source in why else f"{source}: {why}"), err=True)
        click.echo(
            f"{len(report.added)} added, {len(report.changed)} changed, {len(report.unchanged)} unchanged,"
            f" {len(report.failed)} failed: {report.chunks} chunks in {report.seconds:.1f} s."
        )
    ctx.exit(exits.FAILED if report.failed else exits.OK)


@command.command("search")
@click.argument("name")
@click.argument("query")
@click.option("-k", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many chunks.")
@click.option("--mode", type=click.Choice(["hybrid", "vector", "keyword"]), help="[default: hybrid]")
@click.option("--filter", "condition", metavar="JSON", help="""Such as '{"lang": "en", "year": {"$gte": 2024}}'.""")
@store_option
@json_option
def search(  # noqa: PLR0917 - Click names them
    name: str, query: str, k: int, mode: str | None, condition: str | None, store: str, as_json: bool
) -> None:
    """Shows what bank NAME has for QUERY, best first."""
    chosen = _json_of(condition) if condition else None
    with _closing(_shelf(store).bank(name, embeds=mode != "keyword")) as bank:
        if mode is not None:
            _check_kind(bank, "--mode is of")
        hits = bank.query(query, k=k, filter=chosen, **({"mode": mode} if mode else {}))
    if as_json:
        from ..types.serialise import to_dict

        click.echo(json.dumps([to_dict(hit) for hit in hits], ensure_ascii=False))
        return
    if not hits:
        click.echo("Nothing was found.", err=True)
    for hit in hits:
        place = f", page {hit.position['page']}" if "page" in hit.position else ""
        click.secho(cleaned(f"{hit.title or hit.document_id}{place}  {hit.score:.3f}"), bold=True)
        click.echo(cleaned(hit.source or hit.document_id))
        click.echo(f"{cleaned(hit.text)}\n")


@command.command("ls")
@click.argument("name", required=False)
@store_option
@json_option
def list_banks(name: str | None, store: str, as_json: bool) -> None:
    """Lists the banks, or the documents of bank NAME."""
    from .tables import print_table

    shelf = _shelf(store)
    if name is None:
        banks = run_sync(shelf.banks())
        if as_json:
            click.echo(json.dumps(banks, ensure_ascii=False))
            return
        rows = [(one["name"], one["kind"], one["embedding"]) for one in banks]
        print_table(("bank", "kind", "embedding"), rows, empty="No banks yet.")
        return
    with _closing(shelf.bank(name, embeds=False)) as bank:
        documents = bank.documents()
    if as_json:
        click.echo(json.dumps([asdict(one) for one in documents], ensure_ascii=False))
        return
    rows = [(one.id, str(one.chunks), one.title) for one in documents]
    print_table(("document", "chunks", "title"), rows, empty="The bank is empty.")


@command.command("show")
@click.argument("name")
@click.argument("document")
@store_option
@json_option
def show(name: str, document: str, store: str, as_json: bool) -> None:
    """Shows what bank NAME knows of DOCUMENT, by its id or path, and the passages that it was cut into."""
    shelf = _shelf(store)
    with _closing(shelf.bank(name, embeds=False)) as bank:
        found = run_sync(shelf.shown(bank, *_ids(bank, [document])))
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    passages = found.pop("passages")
    for key in ("id", "title", "source", "mime_type", "metadata"):
        if value := found[key]:
            click.echo(cleaned(f"{key}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"))
    for number, passage in enumerate(passages, 1):
        place = f", page {passage['position']['page']}" if "page" in passage["position"] else ""
        click.secho(f"\n{number} of {len(passages)}{place}", bold=True)
        click.echo(cleaned(passage["text"]))


@command.command("rm")
@click.argument("name")
@click.argument("documents", nargs=-1)
@click.option("--bank", "whole", is_flag=True, help="Removes the bank with all that it holds.")
@store_option
@json_option
def remove(name: str, documents: tuple[str, ...], whole: bool, store: str, as_json: bool) -> None:
    """Removes DOCUMENTS, by their ids or paths, from bank NAME; or with --bank the whole of it."""
    if whole == bool(documents):
        raise click.UsageError("Name documents, or give --bank to remove the whole bank.")
    with _closing(_shelf(store).bank(name, embeds=False)) as bank:
        if whole:
            bank.drop()
            _tell({"bank": name}, f"Removed the bank {name}.", as_json)
        else:
            count = bank.delete(*_ids(bank, documents))
            _tell({"removed": count}, f"Removed {count} documents.", as_json)


@command.command("stats")
@click.argument("name")
@store_option
@json_option
def stats(name: str, store: str, as_json: bool) -> None:
    """Shows how much bank NAME holds, and its embedding."""
    with _closing(_shelf(store).bank(name, embeds=False)) as bank:
        found = bank.stats()
    lines = "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in found.items())
    _tell(found, lines, as_json)


@command.command("verify")
@click.argument("name")
@store_option
@json_option
@click.pass_context
def verify(ctx: click.Context, name: str, store: str, as_json: bool) -> None:
    """Reads everything in bank NAME and compares it: rows, hashes, words, vectors."""
    with _closing(_shelf(store).bank(name, embeds=False)) as bank:
        found = bank.verify()
    lines = [*found.problems, f"{found.documents} documents and {found.chunks} chunks are sound."]
    _tell(asdict(found), "\n".join(lines), as_json)
    ctx.exit(exits.OK if found.ok else exits.STORE)


@command.command("export")
@click.argument("name")
@click.argument("file", type=click.Path(dir_okay=False))
@store_option
@json_option
def export(name: str, file: str, store: str, as_json: bool) -> None:
    """Writes bank NAME with its vectors to FILE, as JSON lines."""
    with _closing(_shelf(store).bank(name, embeds=False)) as bank:
        count = bank.export(file)
    _tell({"documents": count, "file": file}, f"Wrote {count} documents to {file}.", as_json)


@command.command("import")
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--embedding", metavar="MODEL", help="What makes the vectors of a new bank. [default: what made the file's]"
)
@store_option
@json_option
def import_bank(name: str, file: str, embedding: str | None, store: str, as_json: bool) -> None:
    """Adds what `export` wrote to bank NAME, which is made if need be."""
    shelf = _shelf(store)
    kind = shelf.kind_of(file)
    there = any(bank["name"] == name for bank in run_sync(shelf.banks()))
    with _closing(shelf.bank(name, embeds=False) if there else shelf.create(name, embedding, kind)) as bank:
        report = bank.restore(file)
    text = f"{len(report.added)} added, {len(report.changed)} changed, {len(report.unchanged)} unchanged."
    _tell(asdict(report), text, as_json)


def _shelf(store: str) -> Any:
    from .. import plugins

    return plugins.load("memory", "banks")(store)


def _ids(bank: Any, documents: Sequence[str]) -> list[str]:
    """The ids of documents; a file's is its whole path."""
    known = {one.id for one in bank.documents()}
    paths = {given: os.path.abspath(given) for given in documents}  # noqa: PTH100 - as `add` names them
    return [path if path in known and given not in known else given for given, path in paths.items()]


def _check_kind(bank: Any, what: str) -> None:
    from ..types.errors import ConfigError

    if bank.kind not in _OF_DOCUMENTS:
        raise ConfigError(f"{what} {' and '.join(_OF_DOCUMENTS)} banks; {bank.name!r} is a {bank.kind} bank.")


@contextmanager
def _closing(opening: Coroutine[Any, Any, Any]) -> Iterator[Any]:
    bank = run_sync(opening)
    try:
        yield bank
    finally:
        bank.close()


@contextmanager
def _progress(total: int) -> Iterator[bool | Callable[[str, int, int], None]]:
    """A bar on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield False
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(24), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False)) as bar:
        task = bar.add_task("", total=total)

        def told(name: str, done: int, chunks: int) -> None:
            rate = chunks / max(bar.tasks[0].elapsed or 0.0, 0.1)
            words = f"{rate:.0f} chunks/s, {one_line(cleaned(name), 40)}".replace("[", r"\[")
            bar.update(task, completed=done, description=words)

        yield told
        bar.update(task, completed=total, description="")


def _json_of(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise click.BadParameter(f"{text!r} is no JSON.", param_hint="--filter") from None


def _tell(data: Any, text: str, as_json: bool) -> None:
    click.echo(json.dumps(data, ensure_ascii=False) if as_json else cleaned(text))
