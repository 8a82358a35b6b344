"""Arguments: their meaning, and a hint for those without one."""

from __future__ import annotations

import os
import re
import shlex
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from dhtd.errors import ConfigError, InvalidId, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dhtd.core.ids import Keyspace

MAGNET: Final = "magnet:"
_URN: Final = "urn:btih:"
_BASE32_DIGITS: Final = 32

_HEX = frozenset("0123456789abcdefABCDEF")
_BEGINNING = 8  # digits that are hardly a name
ADVICE = ": for a name, write --name"
_MOSTLY = 0.9  # of the characters are hex digits: then it may be an ID
_OTHER_HASHES = {32: "an MD5", 56: "a SHA-224", 96: "a SHA-384", 128: "a SHA-512"}  # by their digits


class Key(NamedTuple):
    """The meaning of an argument ID."""

    id: str  # as the daemon takes it
    name: str | None  # where a name was given


def parse_key(text: str, *, name: bool, network: str | None = None) -> Key:
    """Return what an argument means: an ID; or a name, if `name` says so or no ID looks so; raise `InvalidId`.

    Without a `network`, 40 hex digits and magnet links are of the Mainline network, and all else is of our own.
    """
    from dhtd.config.networks import MAINLINE, NATIVE, NETWORKS

    known = NATIVE if network is None else NETWORKS[network]
    if name:
        return _key_of_name(text, known.keyspace)
    if text.lower().startswith(MAGNET):
        text = info_hash_of(text)
    if network is None and _is_hex(text, 2 * MAINLINE.keyspace.width):
        known = MAINLINE
    keyspace = known.keyspace
    try:
        return Key(keyspace.format(keyspace.parse(text)), None)
    except InvalidId as error:
        advice = _of_another_network(text) or _advice(text, 2 * keyspace.width)
        if advice is None:
            return _key_of_name(text, keyspace)
        raise InvalidId(f"{error}{advice}") from None


def info_hash_of(link: str) -> str:
    """Return the info hash in a magnet link, in hex or in base32 (BEP 9); raise `InvalidId`."""
    from base64 import b32decode
    from urllib.parse import parse_qsl, urlsplit

    for key, value in parse_qsl(urlsplit(link).query):
        text = value[len(_URN) :]
        # A link with several topics numbers them: xt.1, xt.2. A link in capitals takes a smaller QR code.
        if key.lower().partition(".")[0] != "xt" or not value.lower().startswith(_URN):
            continue
        if _is_hex(text, 40):
            return text.lower()
        with suppress(ValueError):
            if len(text) == _BASE32_DIGITS:
                return b32decode(text.upper()).hex()
    raise InvalidId(f"{link!r:.80} names no info hash: a magnet link has xt=urn:btih: and 40 hex digits behind it")


def _of_another_network(text: str) -> str | None:
    """Return what to do with the ID of another network than the one that is asked; None if it is of none."""
    from dhtd.config.networks import NETWORKS

    for network in NETWORKS.values():
        if _is_hex(text, 2 * network.keyspace.width):
            return f": it is one of the {network.name} network, so say --network {network.name}"
    return None


def _is_hex(text: str, digits: int) -> bool:
    return len(text) == digits and _HEX.issuperset(text)


def _key_of_name(text: str, keyspace: Keyspace) -> Key:
    """Return the meaning of a name: a text in UTF-8, whatever the locale is."""
    from dhtd.core.names import clean_name, id_of_name

    name = clean_name(_utf8(text))
    return Key(keyspace.format(id_of_name(name, keyspace)), name)


def named_network(network: str | None, instance: str | None, environ: Mapping[str, str]) -> str | None:
    """Return the network that an option or a variable names, or the name of an instance; None if none does.

    Raises `ConfigError` for a variable that names no network.
    """
    from dhtd.config.networks import MAINLINE, NETWORKS

    variable = environ.get("DHTD_NETWORK")
    if variable and variable not in NETWORKS:
        raise ConfigError(f"DHTD_NETWORK: {variable!r:.80} is none of {', '.join(NETWORKS)}")
    is_of_mainline = (instance or environ.get("DHTD_INSTANCE")) == MAINLINE.instance
    return network or variable or (MAINLINE.name if is_of_mainline else None)


def check_network(name: str) -> None:
    """Raise `UsageError` if there is no such network."""
    from dhtd.config.networks import NETWORKS

    if name not in NETWORKS:
        raise UsageError(f"--network {name!r:.80} is none of {', '.join(NETWORKS)}")


def parse_label(text: str | None) -> str | None:
    """Return a name as the daemon takes it, or None for none; raise `InvalidId`."""
    from dhtd.core.names import clean_name

    return None if text is None else clean_name(_utf8(text))


def hash_of(text: str, network: str | None = None) -> str:
    """Return the ID of any text: the hash of its bytes, in NFC as far as they are UTF-8. A name has the same."""
    from dhtd.config.networks import NATIVE, NETWORKS
    from dhtd.core.names import normal_form

    keyspace = NETWORKS[network or NATIVE.name].keyspace
    return keyspace.format(keyspace.digest(normal_form(_utf8(text)).encode("utf-8", "surrogateescape")))


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
