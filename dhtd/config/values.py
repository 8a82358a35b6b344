"""The kinds of settings: their readers for text and for TOML, and the words that TAB offers.

Readers raise a `UsageError` that says what is wrong and what is allowed. The caller adds where the value came from.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from dhtd.config import addresses, paths
from dhtd.core import counters
from dhtd.core.endpoint import check_port, parse_port, split_host_port
from dhtd.core.ids import MAINLINE, NATIVE, Id
from dhtd.errors import ConfigError

T = TypeVar("T")

CAP_MAX: Final = 1_000_000
CAPS_APART: Final = {  # caps with a setting of their own
    counters.RATE_LIMIT: "rate-limit",
    counters.RATE_LIMIT_TOTAL: "rate-limit-total",
    counters.STORE_ENTRIES: "max-entries",
    counters.OPERATIONS: "max-operations",
}
_KEYS_MAX: Final = 2  # wire.sealed.KEYS_MAX, which a test holds equal: to import it would load libsodium
_HOST: Final = re.compile(r"[^\s\[\]/@,:]{1,255}")


class Offers(Enum):
    """The words that TAB offers, other than fixed ones."""

    NOTHING = auto()
    FILES = auto()
    INSTANCES = auto()
    CAPS = auto()


class Kind(NamedTuple):
    """A kind of setting."""

    text: Callable[[str], object]  # reads it from the command line or a variable
    value: Callable[[object], object]  # reads it from TOML
    repeated: Callable[[list[str]], object] | None = None  # reads a repeated option, where TOML takes less
    offers: Offers | tuple[str, ...] = Offers.NOTHING


class CapNumber(NamedTuple):
    """Another number for a cap; `name` is one of `dhtd.core.counters`."""

    name: str
    number: int

    def __str__(self) -> str:
        """Return it as the user writes it."""
        return f"{self.name}={self.number}"


def _typed(wanted: str, kinds: tuple[type, ...], check: Callable[[Any], T]) -> Callable[[object], T]:
    def read(value: object) -> T:
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ConfigError(f"must be {wanted}, not {_kind(value)}")
        if isinstance(value, int) and value.bit_length() > 64:  # more than TOML promises, and maybe than can be shown
            raise ConfigError(f"must be {wanted}")
        return check(value)

    return read


def _listed(example: str, check: Callable[[list[str]], T]) -> Callable[[object], T]:
    def read(value: object) -> T:
        if not isinstance(value, list | tuple):
            raise ConfigError(f'must be an array of strings, such as ["{example}"], not {_kind(value)}')
        for element in value:
            if not isinstance(element, str):
                raise ConfigError(f'must be an array of strings, such as ["{example}"], and has {_kind(element)}')
        return check(list(value))

    return read


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text) if word]


def _each(check: Callable[[list[str]], T]) -> Callable[[list[str]], T]:
    """Return a reader of texts that may be lists themselves, separated by commas or blanks as in a variable."""

    def read(texts: list[str]) -> T:
        split = [_words(text) for text in texts]
        if not all(split):
            raise ConfigError(f"{shown(texts[split.index([])])} is empty")
        return check([word for words in split for word in words])

    return read


def _addresses(texts: list[str]) -> tuple[str, ...]:
    if not texts:
        raise ConfigError("must name at least one address; without this setting, all of this machine's are listened on")
    addresses = [_address(text) for text in texts]
    for text, address in zip(texts, addresses, strict=True):
        if addresses.count(address) > 1:
            raise ConfigError(f"{text} is named twice")
    for everything, of_family in (("0.0.0.0", "IPv4"), ("::", "IPv6")):  # noqa: S104 - it is what is looked for
        if everything in addresses and sum((":" in address) == (":" in everything) for address in addresses) > 1:
            raise ConfigError(f"{everything} is all of this machine's {of_family} addresses: name no others beside it")
    return tuple(addresses)


def _address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ConfigError(f"{shown(text)} is not an IP address, such as 192.168.1.123, 0.0.0.0 or ::") from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.is_link_local and address.scope_id is None:
            raise ConfigError(f"{shown(text)} is on each link another: name the interface, such as {text}%eth0")
        if address.scope_id is not None and not address.is_link_local:
            raise ConfigError(f"{shown(text)} has a zone, and is no link-local address: give it without")
        return str(address.ipv4_mapped or address)
    return str(address)


def _hosts(texts: list[str]) -> tuple[str, ...]:
    for text in texts:
        host, _ = split_host_port(text)
        if text.startswith("["):
            try:
                ipaddress.IPv6Address(host)
            except ValueError:
                raise ConfigError(f"{shown(text)} has no IPv6 address in its brackets") from None
        elif not _HOST.fullmatch(host):
            raise ConfigError(f"{shown(text)} has no host name or address before the port")
    return tuple(dict.fromkeys(texts))


def _networks(texts: list[str]) -> tuple[str, ...]:
    networks = []
    for text in texts:
        try:
            networks.append(str(ipaddress.ip_network(text)))
        except ValueError:
            raise ConfigError(
                f"{shown(text)} is not a network, such as 203.0.113.0/24 or 2001:db8::/48, with nothing behind it"
            ) from None
    return tuple(dict.fromkeys(networks))


def _caps(texts: list[str]) -> tuple[CapNumber, ...]:
    numbers: dict[str, int] = {}
    for text in texts:
        match = re.fullmatch(r"([a-z_]{1,64})=([0-9]{1,15})", text)
        if match is None:
            raise ConfigError(f"{shown(text)} is not a cap and its number, such as {counters.CLAIMS}=16")
        name, number = match[1], int(match[2])
        if name in CAPS_APART:
            raise ConfigError(f"{name} has a setting of its own: {CAPS_APART[name]}")
        if name not in counters.CAPS:
            others = ", ".join([cap for cap in counters.CAPS if cap not in CAPS_APART][:8])
            raise ConfigError(f"{shown(name)} is none of {others}, ...: see CAPS in dhtd(8)")
        if name in numbers:
            raise ConfigError(f"{name} is named twice")
        if not 1 <= number <= CAP_MAX:
            raise ConfigError(f"{number} is no cap of {name}: it must be from 1 to {CAP_MAX}")
        numbers[name] = number
    return tuple(CapNumber(name, number) for name, number in numbers.items())


def _path(text: str) -> Path:
    if not text:
        raise ConfigError("is empty, and must be a path")
    if "\0" in text:
        raise ConfigError("has a zero byte, which no path may have")
    if text.rpartition("/")[2] in ("", ".", ".."):
        raise ConfigError(f"{shown(text)} is the path of a directory, and must be that of a file")
    return _located(text)


def _directory(text: str) -> Path:
    if not text or "\0" in text:
        raise ConfigError("is empty, and must be a path" if not text else "has a zero byte, which no path may have")
    return _located(text)


def _located(text: str) -> Path:
    try:
        return paths.locate(text)
    except RuntimeError as error:
        raise ConfigError(f"{shown(text)} leads nowhere: {error}") from None
    except OSError:
        raise ConfigError(f"{shown(text)} is relative, and the working directory is gone: begin it with /") from None


def _absolute(read: Callable[[str], Path]) -> Callable[[str], Path]:
    """Return a reader of paths in a file: all daemons read it, so it cannot mean the working directory of one."""

    def check(text: str) -> Path:
        if text and not text.startswith(("/", "~")):
            raise ConfigError(f"{shown(text)} is relative: a path in this file begins with / or ~")
        return read(text)

    return check


_absolute_path: Final = _absolute(_path)


def _key_files_text(text: str) -> tuple[Path, ...]:
    words = _words(text)
    if not words:
        raise ConfigError("is empty, and must name the file of a network key; for an open network, unset it")
    return _key_files(words)


def _key_files(texts: list[str], read: Callable[[str], Path] = _path) -> tuple[Path, ...]:
    files = tuple(read(text) for text in texts)
    if len(files) > _KEYS_MAX:
        raise ConfigError(f"names {len(files)} files: the key to seal with, and one more to open with, are enough")
    if len(set(files)) < len(files):
        raise ConfigError(f"{files[0]} is named twice")
    return files


def _tls_files(texts: list[str], read: Callable[[str], Path] = _path) -> tuple[Path, ...]:
    files = tuple(read(text) for text in texts)
    if len(files) > 2:
        raise ConfigError(f"names {len(files)} files: those of the certificate and of its key are all")
    return files


def _rate_text(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,15})?", text):
        raise ConfigError(f"{shown(text)} is not a number of queries a second, such as 256, or 0 for no limit")
    return float(text)


def _rate(value: float) -> float:
    if not (math.isfinite(value) and 0 <= value < 1e15):
        raise ConfigError(f"{value} is not a number of queries a second, such as 256, or 0 for no limit")
    return float(value)


def _group(text: str) -> str:
    if not re.fullmatch(r"[^\s:,/\0]{1,255}", text):
        raise ConfigError(f"{shown(text)} is not the name of a group, such as dhtd")
    return text


def _node_id(text: str) -> Id:
    """Return the ID that a text spells, in the network whose IDs have as many digits."""
    keyspace = MAINLINE if len(text) == 2 * MAINLINE.width else NATIVE
    return keyspace.parse(text)


def _string(check: Callable[[str], T]) -> Callable[[object], T]:
    return _typed("a string", (str,), check)


def one_of(choices: tuple[str, ...]) -> Kind:
    """Return the kind of these words."""

    def read(text: str) -> str:
        if text not in choices:
            raise ConfigError(f"{shown(text)} is none of {', '.join(choices)}")
        return text

    return Kind(read, _string(read), offers=choices)


def _flag(text: str) -> bool:
    if text not in _FLAGS:
        raise ConfigError(f"{shown(text)} is neither yes nor no")
    return _FLAGS[text]


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"must be true or false, not {_kind(value)}")
    return value


def count_of(what: str, least: int, most: int) -> Kind:
    """Return the kind of a number of something."""
    wanted = f"a number of {what} from {least} to {most}"

    def check(value: int) -> int:
        if not least <= value <= most:
            raise ConfigError(f"{value} is not {wanted}")
        return value

    def text(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,15}", text):
            raise ConfigError(f"{shown(text)} is not {wanted}")
        return check(int(text))

    return Kind(text, _typed(wanted, (int,), check))


def shown(value: object) -> str:
    """Return a value for a message, cut where it is long."""
    text = repr(str(value) if isinstance(value, Path) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _kind(value: object) -> str:
    kinds = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "an array", dict: "a table"}
    return kinds.get(type(value), "a date or time")


def _list_of(example: str, check: Callable[[list[str]], T], offers: Offers = Offers.NOTHING) -> Kind:
    return Kind(lambda text: check(_words(text)), _listed(example, _each(check)), offers=offers)


_FLAGS: Final = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_A_RATE: Final = "a number of queries a second, such as 256, or 0 for no limit"

PORT: Final = Kind(parse_port, _typed("an integer from 1 to 65535", (int,), check_port))
ADDRESSES: Final = _list_of("192.168.1.123", _addresses)
HOSTS: Final = _list_of("192.168.1.123:1729", _hosts)
HTTP_ADDRESSES: Final = _list_of("127.0.0.1:8729", addresses.http_addresses)
DNS_ADDRESSES: Final = _list_of("127.0.0.1:1753", addresses.dns_addresses)
DOMAIN: Final = Kind(addresses.domain, _string(addresses.domain))
NAMES: Final = _list_of("dht.example.org", addresses.host_names)
FILE: Final = Kind(_path, _string(_absolute_path), offers=Offers.FILES)
DIRECTORY: Final = Kind(_directory, _string(_absolute(_directory)), offers=Offers.FILES)
INSTANCE: Final = Kind(paths.check_instance, _string(paths.check_instance), offers=Offers.INSTANCES)
GROUP: Final = Kind(_group, _string(_group))
FLAG: Final = Kind(_flag, _boolean)
NODE_ID: Final = Kind(_node_id, _string(_node_id))
KEY_FILES: Final = Kind(
    _key_files_text,
    _listed("/etc/dhtd/network.key", lambda texts: _key_files(texts, _absolute_path)),
    repeated=_key_files,
    offers=Offers.FILES,
)
TLS_FILES: Final = Kind(
    lambda text: _tls_files(_words(text)),
    _listed("/etc/dhtd/tls.pem", lambda texts: _tls_files(texts, _absolute_path)),
    repeated=_tls_files,
    offers=Offers.FILES,
)
NETWORKS: Final = _list_of("203.0.113.0/24", _networks)
RATE: Final = Kind(_rate_text, _typed(_A_RATE, (int, float), _rate))
CAPS: Final = _list_of(f"{counters.CLAIMS}=16", _caps, Offers.CAPS)
