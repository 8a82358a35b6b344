"""Arguments: their meaning, and a hint for those without one."""

from __future__ import annotations

import os
import re
import shlex

from dhtd.errors import InvalidId

_HEX = frozenset("0123456789abcdefABCDEF")
_BEGINNING = 8  # digits that are hardly a name
_OTHER_HASHES = {32: "an MD5", 40: "a SHA-1", 56: "a SHA-224", 96: "a SHA-384", 128: "a SHA-512"}  # by their digits


def parse_id(text: str, *, name: bool) -> str:
    """Return the ID that an argument means, as the daemon takes it; raise `InvalidId`."""
    from dhtd.core.ids import NATIVE

    if name:
        return name_to_id(text)
    try:
        return NATIVE.format(NATIVE.parse(text))
    except InvalidId as error:
        raise InvalidId(f"{error}{_advice(text, 2 * NATIVE.width)}") from None


def name_to_id(name: str) -> str:
    """Return the ID of a name; raise `InvalidId` for an empty one, as an unset variable gives."""
    if not name.strip():
        raise InvalidId("the name is empty: with --name, ID is the name of what is served, such as wiki.example.org")
    return hash_of(name)


def hash_of(text: str) -> str:
    """Return the ID of any text: the SHA-256 of its bytes."""
    from dhtd.core.ids import NATIVE

    return NATIVE.format(NATIVE.digest(os.fsencode(text)))


def parse_port(text: str) -> int:
    """Return the port that an argument means; raise `InvalidPort`."""
    from dhtd.core import endpoint

    return endpoint.parse_port(text)


def check_endpoint(text: str) -> str:
    """Return `text`; raise `InvalidEndpoint` or `InvalidPort` if it is not HOST:PORT."""
    from dhtd.core.endpoint import split_host_port

    split_host_port(text)
    return text


def _advice(text: str, digits: int) -> str:
    """Return a hint for a text that is no ID; it begins with a colon, or is empty."""
    if not text.strip():
        return ": is a variable empty that should hold it?"
    bare = "".join(character for character in text if character not in " \t\r\n:-_")
    ids = re.findall(rf"(?:^|0[xX]|[^0-9A-Za-z])([0-9A-Fa-f]{{{digits}}})(?![0-9A-Za-z])", text)
    if not ids and len(bare) == digits and _HEX.issuperset(bare):
        ids = [bare]
    if len(ids) == 1:  # with something around it, such as sha256: or quotes, or something in it
        return f": write {ids[0]}"
    if text.endswith(("…", "...")) and _HEX.issuperset(text.rstrip("….")):
        return ": this is the beginning of one; dht info | cat prints whole IDs"
    hex_digits = sum(character in _HEX for character in bare)
    if hex_digits == len(text) and len(text) in _OTHER_HASHES:
        return f": {len(text)} digits are {_OTHER_HASHES[len(text)]}, and an ID is a SHA-256"
    if hex_digits >= 0.9 * digits:
        return ""  # an ID with a slip
    advice = f": for a name, write --name {shlex.quote(text)}" if len(text) <= 80 else ": for a name, write --name"
    if len(text) >= _BEGINNING and hex_digits == len(text):
        advice += "; if it is the beginning of an ID, dht info | cat prints whole ones"
    return advice
