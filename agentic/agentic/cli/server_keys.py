"""`agentic server-keys`: who may use a server."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .tables import print_table

if TYPE_CHECKING:
    from ..server.access import Keys

T = TypeVar("T")

CONFIG = click.option("--config", metavar="FILE", help="The server's run.yaml; default: as for other commands.")


@click.group("server-keys")
def command() -> None:
    """Makes, lists and removes the keys that a server's clients send.

    A server reads its keys again every few seconds. It demands one as soon as there is any, and always where it can be
    reached from other machines.
    """


@command.command("add")
@click.argument("label", default="")
@click.option("--tenant", default="", help="Whose key it is: what other tenants have is out of its sight.")
@click.option("--scope", "scopes", multiple=True, help="inference, agents, admin or metrics.  [default: the first two]")
@click.option("--rate", type=click.IntRange(1), help="Requests a minute; default: the server's.")
@click.option("--concurrency", type=click.IntRange(1), help="Requests at a time; default: the server's.")
@CONFIG
def add(
    label: str, tenant: str, scopes: tuple[str, ...], *, rate: int | None, concurrency: int | None, config: str | None
) -> None:
    """Makes a key, which is printed this once; LABEL says what it is for."""
    limits = {"rate": rate, "concurrency": concurrency}
    given = scopes or ("inference", "agents")
    _, text = _with_keys(config, lambda keys: keys.add(label, tenant=tenant, scopes=given, **limits))
    click.echo(text)
    click.echo("Keep it: only its hash is stored, so it is shown nowhere again.", err=True)


@command.command("ls")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@CONFIG
def list_keys(as_json: bool, config: str | None) -> None:
    """Lists the keys, without their secrets."""
    found = _with_keys(config, lambda keys: keys.all())
    shown: list[dict[str, Any]] = [
        {
            "id": key.key_id,
            "tenant": key.tenant,
            "scopes": list(key.scopes),
            "rate": key.rate,
            "concurrency": key.concurrency,
            "label": key.label,
            "created_at": document.created_at.isoformat(),
        }
        for key, document in found
    ]
    if as_json:
        click.echo(json.dumps(shown))
        return
    rows = [(one["id"], one["tenant"] or "-", ", ".join(one["scopes"]), one["label"]) for one in shown]
    print_table(("key", "tenant", "scopes", "label"), rows, empty="There are no keys.")


@command.command("rm")
@click.argument("key_id")
@CONFIG
def remove(key_id: str, config: str | None) -> None:
    """Removes the key KEY_ID."""
    _with_keys(config, lambda keys: keys.remove(key_id))
    click.echo(f"Removed {key_id}.", err=True)


def _with_keys(config: str | None, work: Callable[[Keys], Awaitable[T]]) -> T:
    from ..config import current_config, read_config
    from ..portal import run_sync
    from ..server.access import Keys
    from ..store import KeepsDocuments, open_store
    from ..types.errors import ConfigError

    where = (read_config(config) if config else current_config()).store
    store = open_store(where)

    async def run() -> T:
        try:
            if where is None or not isinstance(store, KeepsDocuments):
                raise ConfigError("Keys are kept in the server's store; this one keeps nothing.")
            return await work(Keys(store.documents))
        finally:
            await store.aclose()

    return run_sync(run())
