"""The verbs of one question and one answer: ping, node-id, bootstrap, find-node, find-value, store and hash."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from dhtd.cli.arguments import check_endpoint, hash_of, parse_port
from dhtd.cli.completion.candidates import complete_endpoint, complete_file, complete_id
from dhtd.cli.output import JsonOption, NameOption, Verb, ask, session
from dhtd.cli.told import Told
from dhtd.errors import UsageError

HostPortArgument = Annotated[
    str,
    typer.Argument(
        metavar="HOST:PORT",
        help="A node: name or address, and UDP port.",
        autocompletion=complete_endpoint,
        show_default=False,
    ),
]
IdArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="An ID in hex, a name or a magnet link.", autocompletion=complete_id, show_default=False
    ),
]


def ping(context: typer.Context, endpoint: HostPortArgument, *, json: JsonOption = False) -> None:
    """Ask whether a node is there. Prints its ID, its endpoint and the round trip."""
    from dhtd.service.queries import PING

    options = session(context, json=json)
    with options.client() as client:
        told = ask(client, PING, endpoint=check_endpoint(endpoint))
        rtt = told.number("rtt_ms")
        took = "-" if rtt is None else f"{rtt:.3f}"
        options.show(told, [f"{told.text('node_id')} {told.text('endpoint')} {took} ms"], client)


def node_id(context: typer.Context, *, json: JsonOption = False) -> None:
    """Print this node's ID and where it is reached."""
    from dhtd.service.node import NODE_ID

    options = session(context, json=json)
    with options.client() as client:
        told = ask(client, NODE_ID)
        options.show(told, [told.text("node_id"), *told.texts("endpoints")], client)


def bootstrap(
    context: typer.Context,
    endpoints: Annotated[
        list[str], typer.Argument(metavar="HOST:PORT...", help="Nodes to join through.", show_default=False)
    ],
    *,
    json: JsonOption = False,
) -> None:
    """Join the network through nodes that are in it."""
    from dhtd.service.node import BOOTSTRAP

    options = session(context, json=json)
    with options.client() as client:
        told = ask(client, BOOTSTRAP, endpoints=[check_endpoint(endpoint) for endpoint in endpoints])
        lines = [f"{key} {told.text(key)}" for key in ("contacted", "failed", "table_size")]
        options.show(told, lines, client)
    for host in told.parts("unreached"):
        endpoint, message = host.text("endpoint"), host.text("message")
        options.note(message if endpoint in message else f"{endpoint}: {message}")


def find_node(
    context: typer.Context,
    endpoint: HostPortArgument,
    id: IdArgument,
    *,
    name: NameOption = False,
    json: JsonOption = False,
) -> None:
    """Ask one node for the nodes nearest to an ID."""
    from dhtd.service.queries import FIND_NODE

    options = session(context, json=json)
    key = options.key(id, name=name)
    with options.client() as client:
        told = ask(client, FIND_NODE, endpoint=check_endpoint(endpoint), id=key.id)
        options.show(told, _found_lines(told), client)


def find_value(
    context: typer.Context,
    endpoint: HostPortArgument,
    id: IdArgument,
    *,
    name: NameOption = False,
    json: JsonOption = False,
) -> None:
    """Ask one node who serves an ID."""
    from dhtd.service.queries import FIND_VALUE

    options = session(context, json=json)
    key = options.key(id, name=name)
    with options.client() as client:
        told = ask(client, FIND_VALUE, endpoint=check_endpoint(endpoint), id=key.id)
        options.show(told, [*_found_lines(told), *(f"peer {peer}" for peer in told.texts("peers"))], client)


def store(
    context: typer.Context,
    endpoint: HostPortArgument,
    id: IdArgument,
    port: Annotated[str, typer.Argument(metavar="PORT", help="The port of the service.", show_default=False)],
    *,
    token: Annotated[
        str, typer.Option("--token", metavar="HEX", help="The token that find-node or find-value printed for this ID.")
    ],
    name: NameOption = False,
    json: JsonOption = False,
) -> None:
    """Have one node hold an entry, once. Nothing keeps it there: to serve an ID, use enter."""
    from dhtd.service.params import parse_token
    from dhtd.service.queries import STORE

    options = session(context, json=json)
    key = options.key(id, name=name)
    with options.client() as client:
        proof, at = parse_token(token).hex(), check_endpoint(endpoint)
        told = ask(client, STORE, endpoint=at, id=key.id, port=parse_port(port), token=proof)
        options.show(told, [told.text("node_id")], client)


def hash_(
    context: typer.Context,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="The text to hash.", show_default=False)] = None,
    *,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            metavar="PATH",
            help="Hash this file's content instead; - is stdin.",
            autocompletion=complete_file,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Print the ID of a text or a file. It is the SHA-256; no daemon is needed."""
    options = session(context, json=json)
    if (text is None) == (file is None):
        raise UsageError("give a TEXT or --file PATH")
    if file is not None and not file:
        raise UsageError("--file is empty: give the path of a file, or - for stdin")
    id = hash_of(text, options.network) if text is not None else _hash_file(str(file), options.network)
    options.show(Told({"id": id}), [id])
    if text is not None and not text.strip():
        options.note("this is the ID of an empty text: is a variable empty that should hold it?")


def _hash_file(path: str, network: str | None) -> str:
    import hashlib

    from dhtd.config.networks import NATIVE, NETWORKS

    keyspace = NETWORKS[network or NATIVE.name].keyspace
    try:
        with open(0 if path == "-" else path, "rb") as file:  # noqa: PTH123 - a descriptor is no path
            return hashlib.file_digest(file, keyspace.hash).hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _found_lines(told: Told) -> Iterator[str]:
    yield f"node_id {told.text('node_id')}"
    yield f"token {told.text('token')}"
    for node in told.parts("nodes"):
        yield f"node {node.text('id')} {node.text('endpoint')}"


def register_first(app: typer.Typer) -> None:
    """Add the verb that a user tries first."""
    app.command(cls=Verb, epilog="dht ping 192.168.1.10:1729\ndht ping '[2001:db8::10]:1729' --json")(ping)


def register_rest(app: typer.Typer) -> None:
    """Add the others, in the order in which the help shows them."""
    app.command("node-id", cls=Verb, epilog="dht node-id\ndht node-id --json | jq -r .endpoints[0]")(node_id)
    examples = "dht bootstrap 192.168.1.10:1729\ndht bootstrap a.example.org:1729 '[2001:db8::10]:1729'"
    app.command(cls=Verb, epilog=examples)(bootstrap)
    for find, verb in ((find_node, "find-node"), (find_value, "find-value")):
        examples = f"dht {verb} 192.168.1.10:1729 --name wiki\ndht {verb} 192.168.1.10:1729 --name wiki --json"
        app.command(verb, cls=Verb, epilog=examples)(find)
    examples = (
        "dht store 192.168.1.10:1729 --name wiki 8080 --token 1f3a5c7e9b2d4f60\n"
        'dht store 192.168.1.10:1729 --name wiki 8080 --token "$(dht find-node 192.168.1.10:1729 --name wiki --json'
        ' | jq -r .token)"'
    )
    app.command(cls=Verb, epilog=examples)(store)
    app.command("hash", cls=Verb, epilog="dht hash wiki.example.org\ndht hash --file backup.tar")(hash_)
