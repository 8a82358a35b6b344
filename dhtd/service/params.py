"""The kinds of parameters, and their readers. Reading is strict: a value of another type is an error."""

from __future__ import annotations

import binascii
import json
from base64 import b64decode
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from dhtd.core.endpoint import check_port, split_host_port
from dhtd.core.ids import MAINLINE, NATIVE, Id, Keyspace
from dhtd.core.names import clean_name
from dhtd.core.records import DATA_MAX, PUBLIC_KEY_SIZE, SALT_MAX, SEQ_MAX, SIGNATURE_SIZE
from dhtd.errors import (
    DhtdError,
    InvalidCheck,
    InvalidEndpoint,
    InvalidId,
    InvalidPid,
    InvalidPort,
    InvalidPublicKey,
    InvalidToken,
    InvalidValue,
)
from dhtd.service.checks import EVERY_MAX, EVERY_MIN, parse_check

HostPort = tuple[str, int]  # the host may be a name; the daemon resolves it

TOKEN_MAX: Final = 64  # bytes of a store token, twice as many hex digits
WITHIN_MAX: Final = 1_000_000.0  # seconds that a client can wait
COUNT_MAX: Final = 65_535  # nodes that are to hold something: far more than ever do
SERIAL_MAX: Final = (1 << 53) - 1  # of an event: JSON of other languages has no greater whole numbers
PID_MAX: Final = (1 << 31) - 1
BOOTSTRAP_MAX: Final = 256  # endpoints in one request: all are pinged at once
WATCHED_MAX: Final = 256  # IDs in one request


class Misfit(ValueError):
    """A value is not of its kind. The text completes a sentence about the parameter: "is text, not 7"."""


class Kind(NamedTuple):
    """A kind of parameter."""

    title: str  # its name in dht-control(7)
    json: tuple[type, ...]  # the exact types that a JSON value may have: true is no integer
    wanted: str  # for the message about a value of another type
    read: Callable[..., object]  # raises one of `errors`, or `Misfit`
    errors: tuple[type[DhtdError], ...] = ()
    choices: tuple[str, ...] = ()  # if there are no other values
    has_ids: bool = False  # then `read` is given the keyspace, too

    def check(self, value: object, keyspace: Keyspace = NATIVE) -> object:
        """Return the meaning of a value of JSON; raise one of `errors`, or `Misfit`."""
        if type(value) not in self.json:
            raise Misfit(f"is {self.wanted}, not {shown(value)}")
        return self.read(value, keyspace) if self.has_ids else self.read(value)


def shown(value: object) -> str:
    """Return a value of a request for a message, cut to 80 characters."""
    if isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "an object"
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def parse_token(text: str) -> bytes:
    """Return the store token that hex digits spell; raise `InvalidToken`."""
    try:
        token = bytes.fromhex(text) if not any(character.isspace() for character in text) else b""
    except ValueError:
        token = b""
    if not 1 <= len(token) <= TOKEN_MAX:
        raise InvalidToken(f"{shown(text)} is not a token: the hex digits that find-node or find-value print")
    return token


def one_of(choices: tuple[str, ...]) -> Kind:
    """Return the kind of these words."""

    def read(text: str) -> str:
        if text not in choices:
            raise Misfit(f"is one of {', '.join(choices)}, not {shown(text)}")
        return text

    return Kind("text", (str,), "text", read, choices=choices)


def _count(number: int) -> int:
    if not 0 <= number <= COUNT_MAX:
        raise Misfit(f"is a number from 0 to {COUNT_MAX}, not {shown(number)}")
    return number


def _serial(number: int) -> int:
    if not 0 <= number <= SERIAL_MAX:
        raise Misfit(f"is a number from 0 to {SERIAL_MAX}, not {shown(number)}")
    return number


def _seconds(number: float) -> float:
    if number <= 0:
        raise Misfit(f"is a number of seconds, not {shown(number)}")
    return float(min(number, WITHIN_MAX))


def check_every(seconds: float) -> float:
    """Return the seconds between two checks; raise `Misfit`."""
    if not EVERY_MIN <= seconds <= EVERY_MAX:
        raise Misfit(f"is a number of seconds from {EVERY_MIN:g} to {EVERY_MAX:g}, not {shown(seconds)}")
    return float(seconds)


def check_pid(number: int) -> int:
    """Return the number of a process; raise `InvalidPid`."""
    if not 1 <= number <= PID_MAX:
        raise InvalidPid(f"{shown(number)} is not the number of a process")
    return number


def check_data(data: bytes) -> bytes:
    """Return the data of a value; raise `InvalidValue`."""
    if len(data) > DATA_MAX:
        raise InvalidValue(f"a value has {DATA_MAX} bytes at most, and this one has {len(data)}")
    return data


def check_salt(salt: bytes) -> bytes:
    """Return the salt of a value; raise `InvalidValue`."""
    if len(salt) > SALT_MAX:
        raise InvalidValue(f"a salt has {SALT_MAX} bytes at most, and this one has {len(salt)}")
    return salt


def check_seq(seq: int) -> int:
    """Return the seq of a value; raise `InvalidValue`."""
    if not 0 <= seq <= SEQ_MAX:
        raise InvalidValue(f"a seq is a number from 0 to {SEQ_MAX}, not {shown(seq)}")
    return seq


def _in_base64(check: Callable[[bytes], bytes]) -> Callable[[str], bytes]:
    def read(text: str) -> bytes:
        try:
            return check(b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            raise Misfit(f"is text in base64, not {shown(text)}") from None

    return read


def _public_key(text: str) -> bytes:
    key = _from_hex(text)
    if len(key) != PUBLIC_KEY_SIZE:
        raise InvalidPublicKey(f"{shown(text)} is not a public key: {2 * PUBLIC_KEY_SIZE} hex digits")
    return key


def _signature(text: str) -> bytes:
    signature = _from_hex(text)
    if len(signature) != SIGNATURE_SIZE:
        raise InvalidValue(f"{shown(text)} is not a signature: {2 * SIGNATURE_SIZE} hex digits")
    return signature


def _from_hex(text: str) -> bytes:
    """Return the bytes that hex digits spell; none for another text."""
    try:
        return binascii.unhexlify(text)
    except ValueError:
        return b""


def _host_ports(texts: list[object]) -> tuple[HostPort, ...]:
    wanted = [text for text in texts if isinstance(text, str)]
    if not texts or len(wanted) < len(texts):
        raise Misfit("is an array of HOST:PORT texts, one at least")
    if len(texts) > BOOTSTRAP_MAX:
        raise Misfit(f"has {BOOTSTRAP_MAX} elements at most")
    return tuple(map(split_host_port, wanted))


class WantedEntry(NamedTuple):
    """An entry among many that are to be entered."""

    id: Id
    port: int
    name: str | None


class WatchedId(NamedTuple):
    """An ID among several that are to be watched."""

    id: Id
    name: str | None


def _id(text: str, keyspace: Keyspace) -> Id:
    try:
        return keyspace.parse(text)
    except InvalidId as error:
        if len(text) in {2 * NATIVE.width, 2 * MAINLINE.width} - {2 * keyspace.width}:
            reason = "it is an ID of another network than the one of this daemon. For a name, say dht --network as well"
            raise InvalidId(f"{error}: {reason}") from None
        raise


def _wanted_entries(given: list[object], keyspace: Keyspace) -> tuple[WantedEntry, ...]:
    kinds = {"id": ID, "port": PORT, "name": NAME}
    return tuple(WantedEntry(**values) for values in _objects(given, kinds, "entries", keyspace))


def _watched_ids(given: list[object], keyspace: Keyspace) -> tuple[WatchedId, ...]:
    if len(given) > WATCHED_MAX:
        raise Misfit(f"has {WATCHED_MAX} elements at most")
    return tuple(WatchedId(**values) for values in _objects(given, {"id": ID, "name": NAME}, "IDs", keyspace))


def _objects(given: list[object], kinds: dict[str, Kind], things: str, keyspace: Keyspace) -> list[dict[str, Any]]:
    """Return the values of an array of objects with these keys; `name` may be left out."""
    if not given:
        raise Misfit("is an array of objects, one at least")
    return [_object(number, each, kinds, things, keyspace) for number, each in enumerate(given)]


def _object(number: int, given: object, kinds: dict[str, Kind], things: str, keyspace: Keyspace) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise Misfit(f"is an array of objects, and element {number} is {shown(given)}")
    unknown = sorted(given.keys() - kinds)
    if unknown:
        raise Misfit(f"has the keys {_listed(kinds)}, and element {number} has {shown(unknown[0])}")
    needed = [key for key in kinds if key != "name"]
    for key in needed:
        if key not in given:
            keys = "keys" if len(needed) > 1 else "key"
            raise Misfit(f"has the {keys} {_listed(needed)}, and element {number} lacks {key!r}")
    values: dict[str, Any] = {"name": None}
    for key, value in given.items():
        if value is None and key == "name":
            continue
        try:
            values[key] = kinds[key].check(value, keyspace)
        except Misfit as misfit:
            raise Misfit(f"is an array of {things}, and {key!r} of element {number} {misfit}") from None
    return values


def _listed(keys: Iterable[str]) -> str:
    *others, last = keys
    return f"{', '.join(others)} and {last}" if others else last


_NO_ENDPOINT = (InvalidEndpoint, InvalidPort)

TEXT: Final = Kind("text", (str,), "text", str)
FLAG: Final = Kind("boolean", (bool,), "true or false", bool)
COUNT: Final = Kind("integer", (int,), "a whole number", _count)
SERIAL: Final = Kind("integer", (int,), "a whole number", _serial)
SECONDS: Final = Kind("number", (int, float), "a number of seconds", _seconds)
EVERY: Final = Kind("number", (int, float), "a number of seconds", check_every)
PID: Final = Kind("integer", (int,), "a whole number", check_pid, (InvalidPid,))
CHECK: Final = Kind("text", (str,), "text", parse_check, (InvalidCheck,))
ID: Final = Kind("ID", (str,), "text", _id, (InvalidId,), has_ids=True)
NAME: Final = Kind("text", (str,), "text", clean_name, (InvalidId,))
PORT: Final = Kind("port", (int,), "a whole number", check_port, (InvalidPort,))
WANTED_ENTRIES: Final = Kind(
    "array of object", (list,), "an array", _wanted_entries, (InvalidId, InvalidPort), has_ids=True
)
WATCHED_IDS: Final = Kind("array of object", (list,), "an array", _watched_ids, (InvalidId,), has_ids=True)
TOKEN: Final = Kind("text", (str,), "text", parse_token, (InvalidToken,))
DATA: Final = Kind("text", (str,), "text in base64", _in_base64(check_data), (InvalidValue,))
SALT: Final = Kind("text", (str,), "text in base64", _in_base64(check_salt), (InvalidValue,))
SEQ: Final = Kind("integer", (int,), "a whole number", check_seq, (InvalidValue,))
PUBLIC_KEY: Final = Kind("text", (str,), "text", _public_key, (InvalidPublicKey,))
SIGNATURE: Final = Kind("text", (str,), "text", _signature, (InvalidValue,))
HOST_PORT: Final = Kind("endpoint", (str,), "text", split_host_port, _NO_ENDPOINT)
HOST_PORTS: Final = Kind("array of endpoint", (list,), "an array", _host_ports, _NO_ENDPOINT)
