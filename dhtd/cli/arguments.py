"""Arguments: their meaning, and a hint for those without one."""

from __future__ import annotations

import os
import re
import shlex
from typing import NamedTuple

from dhtd.errors import InvalidId

_HEX = frozenset("0123456789abcdefABCDEF")
_BEGINNING = 8  # digits that are hardly a name
ADVICE = ": for a name, write --name"
_MOSTLY = 0.9  # of the characters are hex digits: then it may be an ID
_OTHER_HASHES = {32: "an MD5", 40: "a SHA-1", 56: "a SHA-224", 96: "a SHA-384", 128: "a SHA-512"}  # by their digits


class Key(NamedTuple):
    """The meaning of an argument ID."""

    id: str  # as the daemon takes it
    name: str | None  # where a name was given


def parse_id(text: str, *, name: bool) -> str:
    """Return the ID that an argument means: see `parse_key`."""
    return parse_key(text, name=name).id


def parse_key(text: str, *, name: bool) -> Key:
    """Return what an argument means: an ID; or a name, if `name` says so or no ID looks so; raise `InvalidId`."""
    from dhtd.core.ids import NATIVE

    if name:
        return _key_of_name(text)
    try:
        return Key(NATIVE.format(NATIVE.parse(text)), None)
    except InvalidId as error:
        advice = _advice(text, 2 * NATIVE.width)
        if advice is None:
            return _key_of_name(text)
        raise InvalidId(f"{error}{advice}") from None


def _key_of_name(text: str) -> Key:
    """Return the meaning of a name: a text in UTF-8, whatever the locale is."""
    from dhtd.core.ids import NATIVE
    from dhtd.core.names import clean_name, id_of_name

    name = clean_name(_utf8(text))
    return Key(NATIVE.format(id_of_name(name, NATIVE)), name)


def parse_label(text: str | None) -> str | None:
    """Return a name as the daemon takes it, or None for none; raise `InvalidId`."""
    from dhtd.core.names import clean_name

    return None if text is None else clean_name(_utf8(text))


def hash_of(text: str) -> str:
    """Return the ID of any text: the SHA-256 of its bytes, in NFC as far as they are UTF-8. A name has the same."""
    from dhtd.core.ids import NATIVE
    from dhtd.core.names import normal_form

    return NATIVE.format(NATIVE.digest(normal_form(_utf8(text)).encode("utf-8", "surrogateescape")))


def _utf8(text: str) -> str:
    """Return what the bytes of an argument are in UTF-8; other bytes are surrogates."""
    return os.fsencode(text).decode("utf-8", "surrogateescape")


def parse_port(text: str) -> int:
    """Return the port that an argument means; raise `InvalidPort`."""
    from dhtd.core import endpoint

    return endpoint.parse_port(text)


def check_endpoint(text: str) -> str:
    """Return `text`; raise `InvalidEndpoint` or `InvalidPort` if it is not HOST:PORT."""
    from dhtd.core.endpoint import split_host_port

    split_host_port(text)
    return text


def _advice(text: str, digits: int) -> str | None:
    """Return a hint for a text that may be a mistyped ID; it begins with a colon, or is empty. None: a plain name."""
    if not text.strip():
        return ": is a variable empty that should hold it?"
    bare = "".join(character for character in text if character not in " \t\r\n:-_")
    # An ID with something around it, such as sha256: or quotes, or with something in it.
    ids = re.findall(rf"(?:^|0[xX]|[^0-9A-Za-z])([0-9A-Fa-f]{{{digits}}})(?![0-9A-Za-z])", text)
    if not ids and len(bare) == digits and _HEX.issuperset(bare):
        ids = [bare]
    if len(ids) == 1:
        return f": write {ids[0]}"
    # The beginning of an ID, another hash, or an ID with a slip.
    if text.endswith(("…", "...")) and _HEX.issuperset(text.rstrip("….")):
        return ": this is the beginning of one; dht info | cat prints whole IDs"
    hex_digits = sum(character in _HEX for character in bare)
    if hex_digits == len(text) and len(text) in _OTHER_HASHES:
        return f": {len(text)} digits are {_OTHER_HASHES[len(text)]}, and an ID is a SHA-256"
    if hex_digits >= _MOSTLY * digits or len(text) == digits:
        return ""
    # A name in one word, which no digits make doubtful.
    if hex_digits < _MOSTLY * len(bare) and len(text.split()) == 1:
        return None
    # A name in more words, or one that could be a part of an ID.
    advice = f": for a name, write --name {shlex.quote(text)}" if len(text) <= 80 and text.isprintable() else ADVICE
    if len(text) >= _BEGINNING and hex_digits == len(text):
        advice += "; if it is the beginning of an ID, dht info | cat prints whole ones"
    return advice
