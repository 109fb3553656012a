"""Tables: drawn on a terminal, tab-separated elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from .text import cleaned


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Prints rows, names first, under a head; `empty` on stderr when there are none."""
    if not rows:
        click.echo(empty, err=True)
        return
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(cleaned(cell).replace("\t", " ").replace("\n", " ") for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 3, 0, 0))
    names = max(len(cleaned(row[0])) for row in rows)
    for number, title in enumerate(head):
        table.add_column(
            title, no_wrap=not number, min_width=None if number else names
        )  # a name is never cut: it is typed
    for row in rows:
        table.add_row(*(Text(cleaned(cell)) for cell in row))
    Console(highlight=False).print(table)
