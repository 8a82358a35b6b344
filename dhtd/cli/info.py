"""`dht info`: everything inside the daemon, as a view on a terminal, as plain lines elsewhere, or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dhtd.cli.common import JsonOption, Verb, session
from dhtd.cli.complete import complete_section
from dhtd.errors import UsageError

if TYPE_CHECKING:
    from dhtd.control.protocol import InfoResult


def info(
    context: typer.Context,
    section: Annotated[
        str | None,
        typer.Argument(
            metavar="[SECTION]",
            help="Only this: node, routing_table, store, tracking, withdrawals or network.",
            autocompletion=complete_section,
            show_default=False,
        ),
    ] = None,
    *,
    json: JsonOption = False,
) -> None:
    """Show what is inside the daemon. Its node and contacts, the entries it holds and has entered, its traffic."""
    from dhtd.control.protocol import SECTIONS

    options = session(context, json=json)
    wanted = None if section is None else section.replace("-", "_")
    if wanted not in {None, *SECTIONS}:
        raise UsageError(f"no section {section!r}; there are: {', '.join(SECTIONS)}")
    with options.client() as client:
        result = client.info(wanted)
    if not options.json and sys.stdout.isatty():
        from dhtd.cli import render

        render.info(result)
    else:
        options.show(result, _lines(result))


def _lines(result: InfoResult) -> Iterator[str]:
    """Yield one line a fact: what it is about, then its values, with `-` for what is not known."""
    if "node" in result:
        yield from _facts("node", result["node"])
    if "routing_table" in result:
        for bucket in result["routing_table"]["buckets"]:
            low, high, members = bucket["low"], bucket["high"], bucket["members"]
            yield f"bucket {low} {high} {bucket['last_activity_s']} {len(members)} {bucket['family']}"
            for member in members:
                yield f"contact {' '.join(map(_text, member.values()))}"
    for held in result.get("store", []):
        yield f"store {' '.join(_text(value) for value in held.values())}"
    for tracked in result.get("tracking", []):
        yield f"tracking {' '.join(_text(value) for value in tracked.values())}"
    for withdrawal in result.get("withdrawals", []):
        yield f"withdrawal {' '.join(_text(value) for value in withdrawal.values())}"
    if "network" in result:
        yield from _facts("network", result["network"])


def _facts(about: str, facts: Mapping[str, Any]) -> Iterator[str]:
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from _facts(f"{about} {name}", value)
        elif isinstance(value, list):
            for element in value:
                if isinstance(element, dict):  # the first value of which says what it is about
                    (_, of), *rest = element.items()
                    yield from _facts(f"{about} {name} {of}", dict(rest))
                else:
                    yield f"{about} {name} {_text(element)}"
        else:
            yield f"{about} {name} {_text(value)}"


def _text(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(cls=Verb)(info)
