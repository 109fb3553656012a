"""`agentic serve`: the engine over HTTP."""

from __future__ import annotations

import json
import logging
import sys
from importlib.util import find_spec

import click

from ..types.errors import ConfigError
from . import exits


@click.command("serve", epilog=exits.TABLE)
@click.argument("file", required=False)
@click.option("--host", metavar="ADDRESS", help="The address to bind; any but this machine's own needs a token.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 0 takes a free one.  [default: 8321]")
@click.option("--schema", is_flag=True, help="Print the JSON schema of FILE, for editors, and end.")
def command(file: str | None, host: str | None, port: int | None, schema: bool) -> None:
    """Serves the Llama Stack 0.2 API and OpenAI's from a FILE such as run.yaml.

    Without a file it offers what the environment does: the model of AGENTIC_MODEL or the embedded one, and every
    toolgroup that is installed. Clients send the token of AGENTIC_SERVER_TOKEN, if there is one.
    """
    from ..config import Config, read_config

    if schema:
        click.echo(json.dumps(Config.model_json_schema(), indent=2))
        return
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise ConfigError("The server needs more packages.", hint="Run: pip install 'agentic[server]'")
    from ..server.serving import Server
    from ..server.watch import log_to
    from ..stack import Stack

    config = read_config(file) if file else Config()
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    config = config.model_copy(update={"server": config.server.model_copy(update=given)})
    server = Server(Stack(config), ready=lambda url: click.echo(f"Serving on {url}"))
    log_to(sys.stderr, logging.INFO if config.server.log == "requests" else logging.WARNING)
    server.run()
