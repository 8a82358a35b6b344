"""The checks that tie an entry to its service, as they are written and as values. The daemon makes them.

A check is a text, in requests, in files and in the state file: `tcp`, `http://127.0.0.1:80/health` or
`exec /usr/bin/pg_isready -q`. `parse_check` reads it, and `str` of the value is the text again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from dhtd.core.endpoint import check_port
from dhtd.errors import InvalidCheck, InvalidPort

CHECK_MAX: Final = 1024  # characters
EVERY: Final = 5.0  # seconds between two checks
EVERY_MIN: Final = 0.5
EVERY_MAX: Final = 3600.0

_KINDS: Final = "tcp, http://127.0.0.1:PORT/PATH or exec COMMAND"
LOCALHOST: Final = "localhost"


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """The port of the entry accepts a connection."""

    def __str__(self) -> str:
        return "tcp"


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """A web server on this machine answers with success. `host` is `localhost` or an IP address, without brackets."""

    host: str
    port: int
    target: str  # path and query

    @property
    def authority(self) -> str:
        """The host and the port, as a URL has them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"http://{self.authority}{self.target}"


@dataclass(frozen=True, slots=True)
class ExecCheck:
    """A command ends with status 0."""

    text: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return self.text


Check = TcpCheck | HttpCheck | ExecCheck


def parse_check(text: str) -> Check:
    """Return the check that a text means; raise `InvalidCheck`."""
    kind = text.partition(" ")[0].partition(":")[0]
    if len(text) > CHECK_MAX:
        raise InvalidCheck(f"a check has {CHECK_MAX} characters at most, and this one has {len(text)}")
    if not text.isprintable():
        raise InvalidCheck(f"the check {text!a:.80} has characters that cannot be printed")
    match kind:
        case "tcp" if text == kind:
            return TcpCheck()
        case "http":
            return _http(text)
        case "https":
            raise InvalidCheck(f"the check {text!r:.80} is not made: give an http:// address of the service")
        case "exec":
            return _exec(text)
        case _:
            raise InvalidCheck(f"{text!r:.80} is not a check: give {_KINDS}")


def _http(text: str) -> HttpCheck:
    from urllib.parse import urlsplit  # noqa: PLC0415 - only a check by HTTP needs it

    try:
        parts = urlsplit(text)
        host, port = parts.hostname, 80 if parts.port is None else check_port(parts.port)
    except (ValueError, InvalidPort):
        raise InvalidCheck(f"{text!r:.80} is not a web address: give http://127.0.0.1:PORT/PATH") from None
    if not host or not text.startswith("http://"):
        raise InvalidCheck(f"{text!r:.80} names no host: give http://127.0.0.1:PORT/PATH")
    if parts.username is not None or parts.password is not None:
        raise InvalidCheck("a check sends no password: give a web address without one")
    if not text.isascii() or " " in text:
        raise InvalidCheck(f"{text!r:.80} is not a web address: write other characters than ASCII, and spaces, as %20")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return HttpCheck(_literal(host, text), port, target)


def _literal(host: str, text: str) -> str:
    """Return `localhost` or an IP address in its one spelling. The meaning of other names may change, to any host."""
    import ipaddress  # noqa: PLC0415

    if host == LOCALHOST:
        return host
    with suppress(ValueError):
        if "%" not in host:  # a zone
            return str(ipaddress.ip_address(host))
    raise InvalidCheck(f"{text!r:.80}: {host!r:.80} is neither localhost nor an IP address of this machine")


def _exec(text: str) -> ExecCheck:
    import shlex  # noqa: PLC0415

    try:
        _, *arguments = shlex.split(text)
    except ValueError as error:
        raise InvalidCheck(f"the command of the check {text!r:.80} cannot be read: {str(error).lower()}") from None
    if not arguments or not arguments[0]:
        raise InvalidCheck("the check exec has no command: give exec COMMAND, such as exec /usr/bin/pg_isready -q")
    return ExecCheck(text, tuple(arguments))
