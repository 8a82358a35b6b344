"""`dht keep`: a value of somebody else that this machine keeps in the network."""

from __future__ import annotations

from contextlib import suppress

import typer

from dhtd.cli.arguments import parse_label
from dhtd.cli.output import JsonOption, Verb, session
from dhtd.cli.sought import parse_sought
from dhtd.cli.verbs.get import SaltOption, SoughtArgument
from dhtd.cli.verbs.put import LabelOption, ReplicasOption, ask_within, finish, wanted_of
from dhtd.errors import InvalidId, NotFound


def keep(
    context: typer.Context,
    id: SoughtArgument,
    *,
    salt: SaltOption = None,
    name: LabelOption = None,
    min_replicas: ReplicasOption = None,
    json: JsonOption = False,
) -> None:
    """Keep the value of somebody else in the network. Prints its ID."""
    from dhtd.service.values import KEEP

    options = session(context, json=json)
    wanted = wanted_of(min_replicas)
    more = {"name": parse_label(name), "min_replicas": wanted or None}
    *likelier, last = parse_sought(options, id, salt)
    for place in likelier:
        with suppress(InvalidId, NotFound):  # see `found_at`
            told = ask_within(options, KEEP, {**place.parameters(), **more})
            break
    else:
        told = ask_within(options, KEEP, {**last.parameters(), **more})
    finish(options, told, wanted)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    examples = (
        "dht keep 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\n"
        "dht keep pk:331r8yt8p9zzgz88675o9kmsgcpxugjmxoteb16onic8s1wjyxno --salt news --label 'news of ann'"
    )
    app.command(cls=Verb, epilog=examples)(keep)
