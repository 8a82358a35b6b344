"""`dht put`: a value that this machine keeps in the network."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dhtd.cli.arguments import parse_label
from dhtd.cli.completion.candidates import complete_file
from dhtd.cli.output import Failure, JsonOption, Session, Verb, session
from dhtd.cli.sought import Sought, in_base64, parse_salt
from dhtd.cli.told import Told, holders_of
from dhtd.cli.verbs.get import data_of, found_at
from dhtd.cli.verbs.put_data import given_data, given_records
from dhtd.config.networks import network_of
from dhtd.errors import (
    Conflict,
    DhtdError,
    NetworkFailure,
    NewerValue,
    NoAnswer,
    NotFound,
    OtherValue,
    TooFewReplicas,
    UsageError,
)
from dhtd.words import count, duration

if TYPE_CHECKING:
    from dhtd.service.method import Method

ReplicasOption = Annotated[
    int | None,
    typer.Option("--min-replicas", metavar="N", help="Fail if fewer nodes than this take it.", show_default=False),
]
LabelOption = Annotated[
    str | None,
    typer.Option("--label", metavar="NAME", help="Name it on this machine, for dht info.", show_default=False),
]


class Signing(NamedTuple):
    """How a value is signed."""

    seed: bytes
    salt: bytes
    seq: int | None
    cas: int | None


def put(
    context: typer.Context,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="The value; - is stdin.", show_default=False)
    ] = None,
    *,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            metavar="PATH",
            help="The value is this file's content; - is stdin.",
            autocompletion=complete_file,
            show_default=False,
        ),
    ] = None,
    dns: Annotated[
        str | None,
        typer.Option(
            "--dns",
            metavar="ZONEFILE",
            help="The value is the DNS records of this zone file, as pkarr has them; - is stdin.",
            autocompletion=complete_file,
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="KEYFILE",
            help="Sign with this key, so that the value can be replaced by a newer one.",
            autocompletion=complete_file,
            show_default=False,
        ),
    ] = None,
    salt: Annotated[
        str | None,
        typer.Option("--salt", metavar="S", help="Tells several values of one key apart.", show_default=False),
    ] = None,
    seq: Annotated[
        int | None,
        typer.Option(
            "--seq",
            metavar="N",
            help="The number of this value, instead of the time in microseconds.",
            show_default=False,
        ),
    ] = None,
    cas: Annotated[
        int | None,
        typer.Option("--cas", metavar="N", help="Replace the value with this seq, and no other.", show_default=False),
    ] = None,
    empty: Annotated[bool, typer.Option("--empty", help="Replace the signed value by one without data.")] = False,
    once: Annotated[
        bool,
        typer.Option("--once", help="Put it, and do not keep it: it lasts a day, or 2 hours in the Mainline network."),
    ] = False,
    name: LabelOption = None,
    min_replicas: ReplicasOption = None,
    json: JsonOption = False,
) -> None:
    """Store a value in the network, and keep it there. Prints its ID.

    A value has at most 1000 bytes. Its ID is their SHA-256, or with --key that of the public key and the salt.
    """
    options = session(context, json=json)
    wanted = wanted_of(min_replicas)
    if once:
        wanted = max(1, wanted)  # else nothing has come of it
    if once and name is not None:
        raise UsageError("--label names a value that is kept, and --once keeps none: give one of them")
    if (text is not None) + (file is not None) + (dns is not None) + empty != 1:
        raise UsageError("give a TEXT, --file PATH, --dns ZONEFILE or --empty: one of them")
    if dns is not None and salt is not None:
        raise UsageError("--dns puts the one packet of a key, which has no salt: leave out --salt")
    if key is None:
        _refuse_without_key({"--dns": dns, "--salt": salt, "--seq": seq, "--cas": cas, "--empty": empty or None})
    more = {"name": parse_label(name), "keep": False if once else None, "min_replicas": wanted or None}
    if key is None:
        told = _put(options, {"data": in_base64(given_data(options, text, file)), **more}, None)
    elif dns is not None:
        signing = _signing(key, salt, seq, cas)
        told = _put_signed(options, signing, given_records(options, dns, _public_key(signing)), more)
    else:
        data = b"" if empty else given_data(options, text, file)
        told = _put_signed(options, _signing(key, salt, seq, cas), data, more)
    if text == "":
        options.note("the value is empty: is a variable empty that should hold it?")
    finish(options, told, wanted)


def wanted_of(min_replicas: int | None) -> int:
    """Return the value of `--min-replicas`; raise `UsageError`."""
    if min_replicas is not None and min_replicas < 0:
        raise UsageError(f"--min-replicas {min_replicas}: give a number from 0 up")
    return min_replicas or 0


def _refuse_without_key(given: dict[str, object]) -> None:
    for option, value in given.items():
        if value is not None:
            raise UsageError(f"{option} is for a signed value: give --key KEYFILE, which dht key new makes")


# How it is signed


def _signing(key: str, salt: str | None, seq: int | None, cas: int | None) -> Signing:
    from dhtd.config import signing_key
    from dhtd.service.params import check_seq

    if seq is not None and cas is not None:
        raise UsageError("--seq says the number of this value, and --cas that of the one before: give one of them")
    if not key:
        raise UsageError("--key is empty: name the file of a key")
    for number in (seq, cas):
        if number is not None:
            check_seq(number)
    return Signing(signing_key.read(Path(key), os.environ), parse_salt(salt or ""), seq, cas)


def _public_key(signing: Signing) -> bytes:
    from dhtd.wire.signatures import public_key

    return public_key(signing.seed)


# Signed values


def _put_signed(options: Session, signing: Signing, data: bytes, more: dict[str, Any]) -> Told:
    """Look what is there, sign a newer value, and put it."""
    from dhtd.wire.signatures import signed

    place = Sought(None, _public_key(signing), signing.salt)
    there, is_known = _there(options, place)
    seq, cas = _numbers(signing, there, data, is_known=is_known)
    value = signed(signing.seed, signing.salt, seq, data)
    parameters = {
        "data": in_base64(data),
        "public_key": value.public_key.hex(),
        "salt": in_base64(value.salt),
        "seq": seq,
        "signature": value.signature.hex(),
        "cas": cas,
    }
    return _put(options, {**parameters, **more}, place)


def _there(options: Session, place: Sought) -> tuple[Told | None, bool]:
    """Return the value that is there, and whether that is known: not if nodes that may hold one were not heard."""
    try:
        return found_at(options, [place]), True
    except Failure as failure:
        if not isinstance(failure.error, NotFound | NoAnswer):
            raise
        return None, isinstance(failure.error, NotFound) and failure.partial.get("complete") is True
    except NetworkFailure:
        return None, False


def _numbers(signing: Signing, there: Told | None, data: bytes, *, is_known: bool) -> tuple[int, int | None]:
    """Return the seq of a new value, and that of the value which it replaces; raise if it cannot replace that."""
    from dhtd.core.records import SEQ_MAX

    known = None if there is None else there.value("seq")
    if signing.cas is not None and signing.cas != known:
        if not is_known:
            raise NoAnswer(
                "whether the value with this seq is there is not known, as nodes do not answer. See dht status"
            )
        what = "no value is there" if there is None else f"the value that is there has seq {known}"
        raise _refused(OtherValue(f"{what}, and --cas {signing.cas} is to replace another one"), there)
    if there is None or not isinstance(known, int):
        return _now() if signing.seq is None else signing.seq, None
    higher = "give a higher one"
    if known >= SEQ_MAX:
        higher = "no value can take its place, since there is no higher one. Use another --salt, or another key"
    if signing.seq is None:
        if known >= SEQ_MAX:
            raise _refused(NewerValue(f"the value that is there has seq {known}: {higher}"), there)
        return max(known + 1, _now()), known
    if signing.seq < known:
        error = NewerValue(f"the value that is there has seq {known}, and {signing.seq} is lower: {higher}")
        raise _refused(error, there)
    if signing.seq == known and data_of(there) != data:
        raise _refused(Conflict(f"another value with seq {known} is there: {higher}"), there)
    return signing.seq, None


def _now() -> int:
    """Return the time in microseconds."""
    return time.time_ns() // 1000


def _refused(error: DhtdError, there: Told | None) -> Failure:
    """Return a failure that shows what is there instead."""
    return Failure(error, {"found": None if there is None else {key: there.value(key) for key in _FOUND}})


_FOUND = ("seq", "data", "text")


# The daemon's answer


def _put(options: Session, parameters: dict[str, Any], place: Sought | None) -> Told:
    from dhtd.service.values import PUT

    try:
        return ask_within(options, PUT, parameters)
    except (Conflict, NewerValue, OtherValue) as error:
        # Another value came in between.
        there = None if place is None else _there(options, place)[0]
        if there is not None and there.value("signature") == parameters["signature"]:
            # Others put at the same moment, and no value was taken by most nodes. Ours is the newest: it stays.
            return ask_within(options, PUT, {**parameters, "cas": None})
        raise _refused(error, there) from None


def ask_within(options: Session, method: Method[Any, Any], parameters: dict[str, Any]) -> Told:
    """Call a method that waits for other nodes, for as long as the client does."""
    with options.client() as client:
        return Told(client.ask(method, **parameters, within_s=client.answer_within))


def finish(options: Session, told: Told, wanted: int) -> None:
    """Print where a value was placed; raise a `Failure` if fewer nodes than `wanted` took it."""
    from dhtd.core.records import SEQ_MAX

    holders, kept = holders_of(told), told.flag("kept")
    if holders is not None and holders < wanted:
        again = f"It is kept all the same, and {_again(told)}"
        again = again if kept else "It is not kept: put it again, or without --once"
        raise Failure(
            TooFewReplicas(f"{count(holders, 'node')} took the value, of {wanted} wanted. {again}"), told.body
        )
    options.show(told, [told.text("id")])
    seq = told.value("seq")
    if seq == SEQ_MAX:
        options.note("there is no higher seq: no value can ever take the place of this one")
    numbered = "" if seq is None else f"seq {seq}, "
    if holders == 0:
        options.note("kept on disk, but no other node has taken it yet; it is put again until one does: see dht status")
    elif kept:
        options.note(f"{numbered}on {count(holders, 'node')}; kept there until dht delete {told.text('id')}")
    else:
        options.note(f"{numbered}on {count(holders, 'node')}; it lasts {network_of(told.text('id')).values_last}")


def _again(told: Told) -> str:
    """Return when the value is put again."""
    seconds = told.number("refresh_in_s")
    return "being put" if seconds == 0 else f"put again in {duration(seconds)}"


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    examples = (
        "dht put 'see you at noon'\n"
        "dht put --key blog.key --salt latest --file post.txt\n"
        "dht put --key blog.key --dns blog.zone"
    )
    app.command(cls=Verb, epilog=examples)(put)
