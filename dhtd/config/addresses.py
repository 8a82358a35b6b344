"""The places where doors listen, and the names by which clients ask for them."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Final

from dhtd.config import paths
from dhtd.core.endpoint import split_host_port
from dhtd.errors import ConfigError

UNIX: Final = "unix:"  # in front of the path of a socket
DOMAIN_MAX: Final = 128  # characters: there must be room for an ID, or a name, in front of it


def http_addresses(texts: list[str]) -> tuple[str, ...]:
    """Return ADDR:PORT and unix:PATH, each in its one spelling; raise a `UsageError`."""
    found = [_http_address(text) for text in texts]
    for text in found:
        if found.count(text) > 1:
            raise ConfigError(f"{text} is named twice")
    return tuple(found)


def dns_addresses(texts: list[str]) -> tuple[str, ...]:
    """Return ADDR:PORT, each in its one spelling; raise a `UsageError`."""
    found = []
    for text in texts:
        host, port = split_host_port(text)
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            raise ConfigError(f"{text!r:.80} is no IP address with a port, such as 127.0.0.1:1753") from None
        if address.is_unspecified:
            raise ConfigError(
                f"{text!r:.80} is all addresses of this machine, and an answer leaves from the one that was asked:"
                " name each of them"
            )
        spelled = _with_port(address, port)
        if spelled in found:
            raise ConfigError(f"{spelled} is named twice")
        found.append(spelled)
    return tuple(found)


def domain(text: str) -> str:
    """Return a domain of DNS in small letters, without the dot at its end; raise `ConfigError`."""
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > DOMAIN_MAX or not all(re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", each) for each in labels):
        raise ConfigError(f"{text!r:.80} is not a domain of at most {DOMAIN_MAX} characters, such as dht.alt")
    return name


def _http_address(text: str) -> str:
    if text.startswith(UNIX):
        path = text.removeprefix(UNIX)
        if not path.startswith(("/", "~")) or "\0" in path or path.endswith("/"):
            raise ConfigError(f"{text!r:.80} names no socket: its path begins with / or ~, and ends with a name")
        return f"{UNIX}{_short(paths.locate(path))}"
    host, port = split_host_port(text)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ConfigError(
            f"{text!r:.80} is neither an IP address with a port, such as 127.0.0.1:8729, nor unix:PATH"
        ) from None
    return _with_port(address, port)


def _with_port(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _short(path: Path) -> Path:
    size = len(os.fsencode(path))
    if size > paths.SOCKET_PATH_MAX:
        raise ConfigError(f"the path {path} has {size} bytes, and a socket's may have {paths.SOCKET_PATH_MAX}")
    return path


def is_local(text: str) -> bool:
    """Whether only this machine reaches an address of the settings `http` and `dns`."""
    return text.startswith(UNIX) or ipaddress.ip_address(split_host_port(text)[0]).is_loopback


def host_names(texts: list[str]) -> tuple[str, ...]:
    """Return the names of machines, in small letters; raise `ConfigError`."""
    for text in texts:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", text):
            raise ConfigError(f"{text!r:.80} is not the name of a machine, such as dht.example.org")
    return tuple(dict.fromkeys(text.lower() for text in texts))
