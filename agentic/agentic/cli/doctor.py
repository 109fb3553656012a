"""`agentic doctor`: what is there, what answers, what would run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from . import exits
from .text import one_line

SHOWN_MODELS = 8


@click.command("doctor", epilog=exits.TABLE)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Says what is installed, which models answer, which keys are set, and what would run by default.

    Ends with 0 if the default model can run. Keys are never shown.
    """
    from .checks import examine

    report = examine()
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        for title, lines in _sections(report):
            click.secho(title, bold=True)
            for good, line in lines:
                mark = click.style("ok ", fg="green") if good else click.style("-  ", fg="yellow")
                click.echo(f"  {mark if good is not None else ''}{one_line(line, 200)}")
    ctx.exit(exits.OK if report["default"]["runs"] else exits.FAILED)


Lines = list[tuple[bool | None, str]]


def _sections(report: dict[str, Any]) -> Iterator[tuple[str, Lines]]:
    """Titles, and under each its lines: good, bad, or neither."""
    yield "agentic", [(None, f"{report['version']}, Python {report['python']}, {report['platform']}")]
    yield "Extras", [(all(packages.values()), _extra(name, packages)) for name, packages in report["extras"].items()]
    plugins = report["plugins"].items()
    yield "Plugins", [(bool(names), f"{group}: {', '.join(names) or 'none'}") for group, names in plugins]
    yield "Keys", [(is_set, f"{name} is {'set' if is_set else 'not set'}") for name, is_set in report["keys"].items()]
    yield "Servers", [(found["answers"], _server(found)) for found in report["endpoints"]]
    models = [f"{one['name']} ({one['kind']}, {one['bytes'] / 1e6:,.0f} MB)" for one in report["local_models"]]
    none: Lines = [(False, "none; agentic models ls shows what can be had")]
    yield "Models in the cache", [(True, line) for line in models] or none
    yield "Checks", [(found["good"], f"{name}: {found['text']}") for name, found in report["checks"].items()]
    folders = [(found["writable"], f"{name}: {found['path']}") for name, found in report["folders"].items()]
    yield "Folders", [(good, line if good else f"{line} cannot be written") for good, line in folders]
    default = report["default"]
    yield "By default", [(default["runs"], f"{default['model']}: {default['problem'] or default['note']}")]


def _extra(name: str, packages: dict[str, str | None]) -> str:
    missing = [package for package, version in packages.items() if not version]
    if missing:
        return f"{name}: {', '.join(missing)} missing; pip install 'agentic[{name}]'"
    return f"{name}: {', '.join(f'{package} {version}' for package, version in packages.items())}"


def _server(found: dict[str, Any]) -> str:
    where = f"{found['provider']} at {found['url'] or '?'}"
    if not found["answers"]:
        return f"{where}: {found['problem']}{'' if found['configured'] else ' (its usual place)'}"
    names = found["models"]
    more = f" and {len(names) - SHOWN_MODELS} more" if len(names) > SHOWN_MODELS else ""
    return f"{where}: {', '.join(names[:SHOWN_MODELS]) or 'it names no models'}{more}"
