"""`dht status`: is this node in its network? Six lines, or only an exit status."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from dhtd.cli.output import Failure, JsonOption, Verb, ask, session
from dhtd.cli.told import Told, shown
from dhtd.config.networks import MAINLINE
from dhtd.errors import DaemonUnreachable, NotJoined
from dhtd.words import about, count, duration

_WHY_NOT = {
    "doubtful": "perhaps it was cut off just now: a contact is silent, and others are being asked",
    "joining": "it is still joining it",
    "silent": "nobody answers; the network is down, or every node that it knows or has to join by is",
    "alone": "it knows no other node: name one with dht bootstrap HOST:PORT, or dhtd start --bootstrap",
}
_SINCE = {
    "joined": "joined {} ago",
    "doubtful": "joined {} ago, but a contact is silent, and others are being asked",
    "joining": "joining for {}",
    "silent": "nobody answers for {}",
    "alone": "no other node is known for {}",
}
_REACH = {
    "public": "reached from outside",
    "private": "reached from private networks only",
    "unknown": "not reached unasked so far",
}
_SERVES = {
    "all": "",
    "contacts": "; read-only, it answers its contacts only",
    "nobody": "; read-only, it answers nobody",
}
_FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}


def status(
    context: typer.Context,
    *,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing; only set the exit status.")] = False,
    json: JsonOption = False,
) -> None:
    """Tell whether this node is in its network. The exit status is 0 if it is, and 4 if not."""
    from dhtd.service.node import STATUS

    options = session(context, json=json)
    try:
        with options.client() as client:
            told = ask(client, STATUS)
            is_joined = told.text("state") == "joined"
            if not quiet and (is_joined or not options.json):  # else the object has the error in it
                options.show(told, _lines(told), client)
    except DaemonUnreachable as error:
        if quiet:
            raise typer.Exit(error.exit_status) from None
        raise
    if not is_joined:
        if quiet:
            raise typer.Exit(NotJoined.exit_status)
        raise Failure(_not_joined(told), told.body)


def _not_joined(told: Told) -> NotJoined:
    state = told.text("state")
    why = _WHY_NOT.get(state, f"its state is {state}")
    if state == "alone" and told.body.get("network") == MAINLINE.name:
        why += ", or --public-bootstrap"
    return NotJoined(f"this node is not in its network: {why}")


def _lines(told: Told) -> Iterator[str]:
    yield f"node        {told.text('node_id')}, dhtd {told.text('version')}, up {duration(told.number('uptime_s'))}"
    yield f"network     {told.text('network')}; {_network(told)}{_size(told)}"
    yield f"contacts    {_contacts(told)}"
    yield f"entries     {_entries(told)}"
    yield f"values      {_values(told.part('values'))}"
    yield f"reached at  {_place(told)}"


def _size(told: Told) -> str:
    size = told.number("network_size")
    return "" if size is None else f"; {about(size)} {'node' if size == 1 else 'nodes'}"


def _network(told: Told) -> str:
    state, since = told.text("state"), duration(told.number("since_s"))
    words = _SINCE[state].format(since) if state in _SINCE else f"{state} for {since}"
    families = [f"{_FAMILIES.get(family, family)} {shown(each)}" for family, each in told.part("families").body.items()]
    return f"{words} ({', '.join(families)})" if len(families) > 1 else words


def _contacts(told: Told) -> str:
    contacts = told.part("contacts")
    known = [number for number in contacts.body.values() if isinstance(number, int)]
    return f"{contacts.text('good')} of {sum(known)} answer"


def _entries(told: Told) -> str:
    own, unheld = told.number("own_entries"), told.number("unheld_entries")
    words = f"{count(own, 'entry')} of this machine"
    if own != 0:
        words += f", {count(told.number('replicas'), 'replica')}"
    if unheld:
        words += f", {told.text('unheld_entries')} held by nobody that answers"
    if told.number("withheld_entries"):
        words += f", and {told.text('withheld_entries')} kept back by their checks"
    more = ", and more are being restored" if told.flag("restoring") else ""
    return f"{words}; {told.text('held_entries')} held for others{more}"


def _values(values: Told) -> str:
    words = f"{count(values.number('own'), 'value')} of this machine"
    if values.number("unheld"):
        words += f", {values.text('unheld')} held by nobody that answers"
    return f"{words}; {values.text('held')} held for others"


def _place(told: Told) -> str:
    places = ", ".join(told.texts("endpoints"))
    if not places:
        return f"a place that nobody has told it; it listens on {', '.join(told.texts('listening')) or '-'}"
    reach = told.text("reachable")
    serves = told.text("serves")
    return f"{places}; {_REACH.get(reach, f'reachable: {reach}')}{_SERVES.get(serves, f'; serves {serves}')}"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    examples = "dht status\nuntil dht status -q; do sleep 1; done\ndht status --json | jq .contacts.good"
    app.command(cls=Verb, epilog=examples)(status)
