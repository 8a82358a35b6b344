"""What can be said of DNS records without dnspython, which takes 100 ms to import and may not be installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final, TypedDict

from dhtd.errors import UsageError
from dhtd.service.values import GetResult

INSTALL: Final = "pip install 'dhtd[dns]', or pipx inject dhtd dnspython, does that"

HEADER_SIZE: Final = 12  # bytes
_ANSWER, _OPCODE = 0x80, 0x78  # bits of the third byte


class Record(TypedDict):
    """One record. Names are absolute, as in `www.KEY.`, also those in `data`, which is as in a zone file."""

    name: str
    ttl: int
    type: str
    data: str


class DnsRecords(TypedDict):
    """The records of a key, whose names end in `origin`. `foreign` ones have other names, or are not of class IN."""

    origin: str
    records: list[Record]
    foreign: int
    unreadable: int


class Got(GetResult):
    """What `dht get --json` prints."""

    dns: DnsRecords | None


def looks_like_packet(data: bytes) -> bool:
    """Whether bytes begin like an answer of DNS. Hardly a text does."""
    return len(data) >= HEADER_SIZE and data[2] & (_ANSWER | _OPCODE) == _ANSWER


def is_installed() -> bool:
    """Whether dnspython is here."""
    return find_spec("dns") is not None


def check_installed() -> None:
    """Raise `UsageError` without dnspython."""
    if not is_installed():
        raise UsageError(f"--dns needs dnspython, which is not installed: {INSTALL}")
