"""`dht enter` and `dht delete`: what this machine serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dhtd.cli.arguments import parse_id, parse_port
from dhtd.cli.common import Failure, JsonOption, NameOption, Verb, session
from dhtd.cli.complete import complete_own_id, complete_own_port
from dhtd.cli.queries import IdArgument
from dhtd.errors import TooFewReplicas, UsageError

if TYPE_CHECKING:
    from dhtd.control.protocol import DeleteResult, EnterResult


def enter(
    context: typer.Context,
    id: IdArgument,
    port: Annotated[str, typer.Argument(metavar="PORT", help="Where the service listens.", show_default=False)],
    *,
    min_replicas: Annotated[
        int | None,
        typer.Option(
            "--min-replicas", metavar="N", help="Fail if fewer nodes than this take the entry.", show_default=False
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the entry is published, or only until it is durable.")
    ] = True,
    name: NameOption = False,
    json: JsonOption = False,
) -> None:
    """This machine serves ID on PORT. Prints the nodes that hold the entry now."""
    options = session(context, json=json)
    wanted = 0 if min_replicas is None else min_replicas
    if wanted < 0:
        raise UsageError(f"--min-replicas {min_replicas}: give a number from 0 up")
    with options.client() as client:
        result = client.enter(parse_id(id, name=name), parse_port(port), wait=wait, min_replicas=wanted)
    if wait and _holders(result) < wanted:
        raise Failure(TooFewReplicas(_too_few(result, wanted)), result)
    options.show(result, [f"{replica['node_id']} {replica['endpoint']}" for replica in result["replicas"]])
    options.note(_entered(result) if wait else "entered; it is being published")


def delete(
    context: typer.Context,
    id: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="64 hex digits; with --name, a name.", autocompletion=complete_own_id, show_default=False
        ),
    ],
    port: Annotated[
        str | None,
        typer.Argument(metavar="[PORT]", help="Only this port.", autocompletion=complete_own_port, show_default=False),
    ] = None,
    *,
    name: NameOption = False,
    json: JsonOption = False,
) -> None:
    """This machine no longer serves ID. Prints the ports that were entered."""
    options = session(context, json=json)
    with options.client() as client:
        result = client.delete(parse_id(id, name=name), None if port is None else parse_port(port))
    options.show(result, [str(removed) for removed in result["removed"]])
    options.note(_withdrawn(result))


def _entered(result: EnterResult) -> str:
    if not result["replicas"]:
        return "kept on disk, but no other node holds it yet; published as soon as one is found: see dht bootstrap"
    return f"on {_nodes(_holders(result))}; published again in {result['refresh_in_s'] / 60:.0f} min"


def _withdrawn(result: DeleteResult) -> str:
    withdrawn = f"withdrawn from {_nodes(result['withdrawn'])}"
    if result["pending"]:
        withdrawn += f"; {_nodes(result['pending'])} did not answer, and will be asked again"
    return withdrawn


def _too_few(result: EnterResult, wanted: int) -> str:
    return (
        f"{_nodes(_holders(result))} took the entry, of {wanted} wanted. It is kept all the same, and published "
        f"again in {result['refresh_in_s']:.0f} s or as soon as a node is found: see dht bootstrap"
    )


def _holders(result: EnterResult) -> int:
    """Return how many nodes hold the entry: one that was reached by both address families is one."""
    return len({replica["node_id"] for replica in result["replicas"]})


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(cls=Verb)(enter)
    app.command(cls=Verb)(delete)
