"""`dht route`: which of the machines that serve an ID is responsible for a key, by consistent hashing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TypedDict

import typer

from dhtd.cli.completion.candidates import complete_file
from dhtd.cli.output import Failure, JsonOption, NameOption, Session, Verb, session
from dhtd.cli.told import Told
from dhtd.cli.verbs.lookup import failure_of
from dhtd.cli.verbs.queries import IdArgument
from dhtd.errors import EXIT_NEGATIVE, UsageError

WORST = 2.0  # times the expected share, above which the exit status says so
KEYS_MAX = 10_000_000


class Routed(TypedDict):
    """The endpoints that are responsible for a key."""

    id: str
    name: str | None
    key: str
    endpoints: list[str]


class Share(TypedDict):
    """The keys of an endpoint, and their number as a multiple of what it should have."""

    endpoint: str
    keys: int
    load: float


class Balanced(TypedDict):
    """The shares of all endpoints."""

    id: str
    name: str | None
    keys: int
    most: float
    deviation: float
    shares: list[Share]


def route(
    context: typer.Context,
    id: IdArgument,
    key: Annotated[str | None, typer.Argument(metavar="[KEY]", help="A key of your own.", show_default=False)] = None,
    *,
    n: Annotated[int, typer.Option("-n", metavar="N", help="So many different endpoints.")] = 1,
    vnodes: Annotated[int, typer.Option("--vnodes", metavar="N", help="Virtual nodes of each endpoint.")] = 150,
    balance: Annotated[bool, typer.Option("--balance", help="Show the share of each endpoint instead.")] = False,
    keys: Annotated[
        int | None, typer.Option("--keys", metavar="N", help="Try so many keys; 100000.", show_default=False)
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            metavar="PATH",
            help="Try these keys, one a line; - is stdin.",
            autocompletion=complete_file,
            show_default=False,
        ),
    ] = None,
    name: NameOption = False,
    json: JsonOption = False,
) -> None:
    """Tell which machine that serves ID is responsible for KEY. Prints its endpoint."""
    options = session(context, json=json)
    wanted = options.key(id, name=name)
    if balance == (key is not None):
        raise UsageError("give a KEY, or --balance")
    if not balance and (keys is not None or file is not None):
        raise UsageError("--keys and --file are for --balance")
    if keys is not None and file is not None:
        raise UsageError("--keys makes keys, and --file reads them: give one of them")
    if n < 1:
        raise UsageError(f"-n {n}: give 1 at least")
    if keys is not None and not 1 <= keys <= KEYS_MAX:
        raise UsageError(f"--keys {keys}: give a number from 1 to {KEYS_MAX}")
    told = _look_up(options, wanted.id, wanted.name)
    if key is not None:
        _show_responsible(options, told, key, n, vnodes)
    else:
        _show_balance(options, told, vnodes, _keys(keys, file))


def _look_up(options: Session, id: str, name: str | None) -> Told:
    from dhtd.service.entries import LOOKUP

    with options.client() as client:
        *_, told = (Told(answer) for answer in client.stream(LOOKUP, id=id, name=name))
    failure = failure_of(told)
    if failure is not None:
        raise Failure(failure, told.body)
    return told


def _show_responsible(options: Session, told: Told, key: str, n: int, vnodes: int) -> None:
    from dhtd.api.hash_ring import HashRing

    endpoints = sorted(told.texts("peers"))
    try:
        chosen = HashRing(endpoints, vnodes).nodes(os.fsencode(key), n)
    except ValueError as error:
        raise UsageError(str(error)) from None
    name = told.body.get("name")
    body: Routed = {
        "id": told.text("id"),
        "name": name if isinstance(name, str) else None,
        "key": key,
        "endpoints": chosen,
    }
    options.show(Told(body), chosen)
    if len(chosen) < n:
        options.note(f"only {len(chosen)} serve it")


def _show_balance(options: Session, told: Told, vnodes: int, keys: Iterator[bytes] | None) -> None:
    from dhtd.api.hash_ring import HashRing

    try:
        found = HashRing(sorted(told.texts("peers")), vnodes).balance(keys)
    except ValueError as error:
        raise UsageError(str(error)) from None
    name = told.body.get("name")
    loads = {each: found.counts[each] / found.expected[each] for each in found.counts}
    body: Balanced = {
        "id": told.text("id"),
        "name": name if isinstance(name, str) else None,
        "keys": found.keys,
        "most": round(found.most, 4),
        "deviation": round(found.deviation, 4),
        "shares": [
            {"endpoint": each, "keys": found.counts[each], "load": round(load, 4)} for each, load in loads.items()
        ],
    }
    lines = [f"{each} {found.counts[each]} {100 * found.counts[each] / found.keys:.2f} %" for each in loads]
    lines.append(f"most {found.most:.3f} of the mean, deviation {100 * found.deviation:.2f} %")
    options.show(Told(body), lines)
    if found.most > WORST:
        options.note(f"one endpoint has {found.most:.1f} times its share: give more --vnodes, or other keys")
        raise typer.Exit(EXIT_NEGATIVE)


def _keys(number: int | None, file: str | None) -> Iterator[bytes] | None:
    """Return the keys to try; None for the usual ones."""
    if file is not None:
        return _lines(file)
    return None if number is None else (b"key:%d" % each for each in range(number))


def _lines(file: str) -> Iterator[bytes]:
    try:
        with sys.stdin.buffer if file == "-" else Path(file).open("rb") as lines:
            yield from (line.rstrip(b"\r\n") for line in lines if line.strip())
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None


def register(app: typer.Typer) -> None:
    """Add the verb."""
    examples = (
        "dht route --name cache user:123\n"
        "dht route --name cache user:123 -n 2\n"
        "dht route --name cache --balance --file keys.txt"
    )
    app.command(cls=Verb, epilog=examples)(route)
