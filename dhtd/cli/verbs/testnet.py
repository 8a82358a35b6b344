"""`dhtd testnet`: a network of real nodes on loopback, for trying things out, until Ctrl-C."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from dhtd.cli.completion.candidates import complete_network
from dhtd.cli.output import JsonOption, Verb
from dhtd.cli.streams import put, put_json, say
from dhtd.errors import UsageError

if TYPE_CHECKING:
    from dhtd.testing.networks import BlockingNetwork


def run_network(
    context: typer.Context,
    nodes: Annotated[int, typer.Argument(metavar="[N]", help="How many nodes.", show_default=True)] = 8,
    *,
    network: Annotated[
        str,
        typer.Option(
            "--network", metavar="NAME", help="native, or mainline: BitTorrent's.", autocompletion=complete_network
        ),
    ] = "native",
    json: JsonOption = False,
) -> None:
    """Run a network of N nodes on loopback until Ctrl-C, all in this process. Prints their endpoints and sockets.

    The nodes know no others. Their files are in a temporary directory, and are removed at the end.
    """
    from dhtd.cli.arguments import check_network
    from dhtd.cli.terminal import tidying
    from dhtd.testing.house import NODES_MAX
    from dhtd.testing.networks import testnet_blocking

    check_network(network)
    if not 1 <= nodes <= NODES_MAX:
        raise UsageError(f"{nodes} nodes: give a number from 1 to {NODES_MAX}")
    with tidying(), testnet_blocking(nodes, network=network) as running, suppress(KeyboardInterrupt):
        _show(running, json=json or context.obj)
        threading.Event().wait()  # for ever


def _show(running: BlockingNetwork, *, json: bool) -> None:
    if json:
        nodes = [
            {"node_id": str(node.node_id), "endpoint": str(node.endpoint), "socket": str(node.socket)}
            for node in running
        ]
        put_json({"nodes": nodes})
    else:
        for node in running:
            put(f"{node.endpoint} {node.socket}")
        say(f"all have joined. Ask one: dht --socket {running[0].socket} status. Ctrl-C ends them")
    sys.stdout.flush()


def register(app: typer.Typer) -> None:
    """Add the verb."""
    examples = "dhtd testnet\ndhtd testnet 3 --json\ndhtd testnet --network mainline"
    app.command("testnet", cls=Verb, epilog=examples)(run_network)
