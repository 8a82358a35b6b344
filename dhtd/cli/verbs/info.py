"""`dht info`: everything inside the daemon, as a view on a terminal, as plain lines elsewhere, or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from dhtd.cli.completion.candidates import complete_section
from dhtd.cli.output import JsonOption, Verb, session
from dhtd.cli.told import Told, shown
from dhtd.errors import UsageError

# The columns of lines. What a newer daemon tells besides comes behind them.
MEMBER = ("id", "endpoint", "state", "reachable", "last_activity_s", "timeouts", "rtt_ms")
HELD = ("id", "endpoint", "age_s", "expires_in_s")
TRACKED = ("id", "port", "replicas", "refresh_in_s", "name", "file", "guard", "state", "since_s", "message")
VALUE = ("id", "seq", "bytes", "replicas", "min_replicas", "refresh_in_s", "name", "public_key")
HELD_VALUE = ("id", "source", "seq", "bytes", "expires_in_s", "public_key")
WITHDRAWAL = ("id", "port", "node_id", "endpoint", "acknowledged", "attempts", "retry_in_s", "expires_in_s")


def info(
    context: typer.Context,
    section: Annotated[
        str | None,
        typer.Argument(
            metavar="[SECTION]",
            help="Only one section: node, routing_table, store, tracking, withdrawals, values, held_values or network.",
            autocompletion=complete_section,
            show_default=False,
        ),
    ] = None,
    *,
    json: JsonOption = False,
) -> None:
    """Show the inside of the daemon. Its node and contacts, its entries and values and those of others, its traffic."""
    from dhtd.service.info import SECTIONS

    options = session(context, json=json)
    wanted = None if section is None else section.replace("-", "_")
    if wanted not in {None, *SECTIONS}:
        raise UsageError(f"no section {section!r}; there are: {', '.join(SECTIONS)}")
    with options.client() as client:
        told = Told(client.info(wanted))
        if not options.json and sys.stdout.isatty():
            from dhtd.cli import render_info

            render_info.info(told, wanted)
            options.show(told, [], client)
        else:
            options.show(told, lines(told), client)


def lines(told: Told) -> Iterator[str]:
    """Yield one line a fact: what it is about, then its values, with `-` for what is not known."""
    for name in told.body:
        match name:
            case "node" | "network":
                yield from _facts(name, told.part(name).body)
            case "routing_table":
                yield from _buckets(told.part(name))
            case "store":
                yield from (f"store {' '.join(held.row(HELD))}" for held in told.parts(name))
            case "tracking":
                yield from (f"tracking {' '.join(entry.row(TRACKED))}" for entry in told.parts(name))
            case "withdrawals":
                yield from (f"withdrawal {' '.join(pending.row(WITHDRAWAL))}" for pending in told.parts(name))
            case "values":
                yield from (f"value {' '.join(value.row(VALUE))}" for value in told.parts(name))
            case "held_values":
                yield from (f"held_value {' '.join(value.row(HELD_VALUE))}" for value in told.parts(name))
            case _:  # a section that only newer daemons have
                yield from _facts(name, {name: told.body[name]})


def _buckets(table: Told) -> Iterator[str]:
    for bucket in table.parts("buckets"):
        members = bucket.parts("members")
        range_and_activity = " ".join(map(bucket.text, ("low", "high", "last_activity_s")))
        yield f"bucket {range_and_activity} {len(members)} {bucket.text('family')}"
        yield from (f"contact {' '.join(member.row(MEMBER))}" for member in members)


def _facts(about: str, facts: Mapping[str, Any]) -> Iterator[str]:
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from _facts(f"{about} {name}", value)
        elif isinstance(value, list):
            for element in value:
                if isinstance(element, dict) and element:  # the first value of which says what it is about
                    (_, of), *rest = element.items()
                    yield from _facts(f"{about} {name} {shown(of)}", dict(rest))
                else:
                    yield f"{about} {name} {shown(element)}"
        else:
            yield f"{about} {name} {shown(value)}"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    examples = "dht info\ndht info tracking | cat\ndht info network --json | jq .network.timeouts"
    app.command(cls=Verb, epilog=examples)(info)
