"""`dht get`: a value, byte for byte."""

from __future__ import annotations

import binascii
import json as json_module
import sys
from base64 import b64decode
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from dhtd.cli.completion.candidates import complete_value_id
from dhtd.cli.output import Failure, JsonOption, Session, Verb, session
from dhtd.cli.sought import Sought, parse_sought
from dhtd.cli.streams import put, put_bytes, put_json
from dhtd.cli.told import Told
from dhtd.errors import Conflict, DhtdError, InvalidId, NoAnswer, NotFound, UsageError
from dhtd.words import count

if TYPE_CHECKING:
    from dhtd.cli.pkarr.packet import Packet

SoughtArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="An ID in hex, or pk: and a public key.",
        autocompletion=complete_value_id,
        show_default=False,
    ),
]
SaltOption = Annotated[
    str | None,
    typer.Option("--salt", metavar="S", help="ID is a public key, and S tells its values apart.", show_default=False),
]


def get(
    context: typer.Context,
    id: SoughtArgument,
    *,
    salt: SaltOption = None,
    all: Annotated[bool, typer.Option("--all", help="Show every value found, with its holders.")] = False,
    first: Annotated[bool, typer.Option("--first", help="End with the first value found; it may be old.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail if the owner has signed two values.")] = False,
    dns: Annotated[
        bool, typer.Option("--dns", help="Print the DNS records of a public key, as lines of a zone file.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Get the value under an ID, or the newest one of a public key. Prints its bytes as they are.

    On a terminal, and with --dns everywhere, it prints DNS records as lines of a zone file.
    """
    options = session(context, json=json)
    if first and (all or strict):
        raise UsageError("--first ends with one value, and --all and --strict wait for others: give one of them")
    if dns:
        _check_dns(all=all, salt=salt)
    told = found_at(options, parse_sought(options, id, salt), all=all, first=first)
    if strict and told.flag("conflict"):
        raise Failure(Conflict(_conflict(told)), told.body)
    packet = packet_of(told) if dns or options.json or (sys.stdout.isatty() and not all) else None
    if dns and packet is None:
        raise Failure(_no_packet(told), told.body)
    if options.json:
        put_json({**told.body, "dns": None if packet is None else packet.body()})
    elif all:
        options.show(told, _lines(told))
    elif packet is not None:
        _print_records(options, packet)
    else:
        _print(data_of(told))
    _finish(options, told, first=first)


# DNS records, as pkarr has them


def packet_of(told: Told) -> Packet | None:
    """Return the DNS records in a value; None if it has none, or without dnspython."""
    from dhtd.cli.pkarr import extra

    key, data = told.body.get("public_key"), data_of(told)
    if not isinstance(key, str) or told.body.get("salt") != "" or told.body.get("bencoded"):
        return None
    if not extra.looks_like_packet(data) or not extra.is_installed():
        return None
    from dhtd.cli.pkarr.packet import packet_in

    return packet_in(data, bytes.fromhex(key))


def _check_dns(*, all: bool, salt: str | None) -> None:
    from dhtd.cli.pkarr.extra import check_installed

    if all:
        raise UsageError("--all shows values as they are, and --dns the records in one: give one of them")
    if salt is not None:
        raise UsageError("--dns prints the one packet of a key, which has no salt: leave out --salt")
    check_installed()


def _no_packet(told: Told) -> DhtdError:
    if not isinstance(told.body.get("public_key"), str):
        return NotFound("the value is not signed, and DNS records are those of a public key: leave out --dns")
    size = count(len(data_of(told)), "byte")
    return NotFound(f"the key has no DNS records: its value is {size} of something else; leave out --dns")


def _print_records(options: Session, packet: Packet) -> None:
    for line in packet.lines():
        put(line)
    if packet.foreign:
        foreign = count(packet.foreign, "record")
        options.note(f"{foreign} left out: of names that are not under the key, or not of class IN")
    if packet.unreadable:
        options.note(f"{count(packet.unreadable, 'record')} left out: not to be read")
    if not packet.records:
        options.note("no DNS records are under the key")


# The value


def found_at(options: Session, places: list[Sought], *, all: bool = False, first: bool = False) -> Told:
    """Return what the daemon tells of the value at the first of these places where there is one.

    Raises a `Failure` if there is none.
    """
    from dhtd.service.values import GET

    answers = []
    for place in places:
        wanted = {**place.parameters(), "all": all or None, "first": first or None}
        try:
            with options.client() as client:
                *_, told = (Told(answer) for answer in client.stream(GET, **wanted))
        except InvalidId:  # for a daemon of the Mainline network, 64 digits are no ID, and so a public key alone
            if place is places[-1]:
                raise
            continue
        if isinstance(told.value("data"), str):
            return told
        answers.append(told)
        if "data" not in told.body or not told.part("stats").number("responses"):
            break  # the next place would fare no better
    raise Failure(_failure(answers[-1]), answers[0].body)


def data_of(told: Told) -> bytes:
    """Return the bytes of a value."""
    try:
        return b64decode(str(told.value("data")), validate=True)
    except (binascii.Error, ValueError):
        raise DhtdError("the daemon does not tell the value: is it of another version than this dht?") from None


def _failure(told: Told) -> DhtdError:
    """Return why there is no value: an outage is no "no"."""
    if "data" not in told.body:
        return DhtdError("the daemon does not tell the value: is it of another version than this dht?")
    stats = told.part("stats")
    answered, silent = stats.number("responses"), stats.number("timeouts")
    if not answered:
        asked = f"{count(silent, 'node')} near it {'was' if silent == 1 else 'were'} asked"
        return NoAnswer(f"nobody answers, so whether there is a value is not known: {asked}. See dht status")
    besides = f", and {silent} did not" if silent else ""
    heard = f"{count(answered, 'node')} near it answered{besides}"
    if told.flag("complete"):
        return NotFound(f"no value is there: {heard}")
    return NotFound(f"no value was found, but not all nodes that may hold one were heard: {heard}")


def _print(data: bytes) -> None:
    """Write the bytes as they are. On a terminal, a line that does not end is ended on stderr."""
    is_terminal = sys.stdout.isatty()
    if is_terminal and not _is_readable(data):
        are = "is" if len(data) == 1 else "are"
        hint = f"add > FILE, or --json{_hint(data)}"
        raise UsageError(f"{count(len(data), 'byte')} that {are} no text for a terminal: {hint}")
    put_bytes(data)
    sys.stdout.flush()
    if is_terminal and data and not data.endswith(b"\n"):
        sys.stderr.write("\n")


def _hint(data: bytes) -> str:
    """Return how DNS records are shown, if bytes look like them; dnspython has not read them."""
    from dhtd.cli.pkarr import extra

    if extra.is_installed() or not extra.looks_like_packet(data):
        return ""
    return f". DNS records are shown by dnspython: {extra.INSTALL}"


def _is_readable(data: bytes) -> bool:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\n\t" for character in text)


def _lines(told: Told) -> Iterator[str]:
    for value in told.parts("values"):
        data = data_of(value)
        text = value.value("text")
        shown = json_module.dumps(text) if isinstance(text, str) else f"base64:{value.text('data')}"
        yield f"value {value.text('seq')} {len(data)} {shown}"
        for holder in value.parts("holders"):
            yield f"holder {holder.text('node_id')} {holder.text('endpoint')}"


def _conflict(told: Told) -> str:
    return f"the owner of the key has signed several values with seq {told.text('seq')}: dht get --all shows them"


def _finish(options: Session, told: Told, *, first: bool) -> None:
    """Say what there is to say about the value that was printed."""
    stats, is_signed = told.part("stats"), told.value("seq") is not None
    if is_signed and told.flag("complete") is False and not first:
        if stats.number("responses") == 0:
            options.note("nobody else answers: this is what this node has itself. See dht status")
        else:
            options.note("not all nodes that may hold a newer value were heard")
    if told.flag("conflict"):
        options.note(_conflict(told))
    stale = len(told.parts("stale"))
    if stale:
        options.note(f"{count(stale, 'node')} held an older value, and {'was' if stale == 1 else 'were'} sent this one")
    if not options.json and sys.stderr.isatty():
        options.note(f"seq {told.text('seq')}; {_course(told)}" if is_signed else _course(told))


def _course(told: Told) -> str:
    """Return how the value was found."""
    stats = told.part("stats")
    if stats.number("queries") == 0:
        return "this node has it itself"
    return (
        f"on {count(len(told.parts('copies')), 'node')}; {count(stats.number('queries'), 'query')},"
        f" {count(stats.number('responses'), 'node')} answered, {stats.number('elapsed_ms') or 0:.0f} ms"
    )


def register(app: typer.Typer) -> None:
    """Add the verb."""
    examples = (
        'dht get "$(dht put hello)"\n'
        "dht get pk:331r8yt8p9zzgz88675o9kmsgcpxugjmxoteb16onic8s1wjyxno --salt news\n"
        "dht get pk:331r8yt8p9zzgz88675o9kmsgcpxugjmxoteb16onic8s1wjyxno --dns"
    )
    app.command(cls=Verb, epilog=examples)(get)
