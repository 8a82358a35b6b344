"""What `dht put` is given: a text, a file, or the DNS records of a zone file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from dhtd.config.networks import MAINLINE
from dhtd.errors import InvalidValue, UsageError

if TYPE_CHECKING:
    from dhtd.cli.output import Session

_ZONE_MAX: Final = 65_536  # bytes of a zone file: one that fits into a value, with many comments


def most_bytes(options: Session) -> int:
    """Return how many bytes a value has at most, in the network that the options name."""
    from dhtd.core.records import DATA_MAX

    # In the Mainline network, the digits of its length count (BEP 44).
    return DATA_MAX - len("996:") if options.network == MAINLINE.name else DATA_MAX


def given_data(options: Session, text: str | None, path: str | None) -> bytes:
    """Return the bytes of a value; raise `InvalidValue` if there are too many."""
    most = most_bytes(options)
    if text is not None and text != "-":
        data = os.fsencode(text)
        if len(data) > most:
            raise InvalidValue(f"a value has {most} bytes at most, and this one has {len(data)}")
        return data
    path = path if path is not None else "-"
    if not path:
        raise UsageError("--file is empty: give the path of a file, or - for stdin")
    data = _read(path, most)
    if len(data) > most:
        raise InvalidValue(
            f"{_called(path)} has more than {most} bytes, which are the most that a value has: put what leads to it,"
            " such as its hash or its address"
        )
    return data


def given_records(options: Session, path: str, public_key: bytes) -> bytes:
    """Return the packet with the DNS records of a zone file; raise `InvalidValue`, or `UsageError`."""
    from dhtd.cli.pkarr.extra import check_installed

    check_installed()
    if not path:
        raise UsageError("--dns is empty: give the path of a zone file, or - for stdin")
    data, called = _read(path, _ZONE_MAX), _called(path)
    if len(data) > _ZONE_MAX:
        raise InvalidValue(f"{called} has more than {_ZONE_MAX} bytes: its records do not fit into a value")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidValue(f"{called}:{line}: this is no text in UTF-8, so it is no zone file") from None
    from dhtd.cli.pkarr.zone_file import is_empty, packet_of

    packet = packet_of(text, public_key, called, most_bytes(options))
    if is_empty(packet):
        options.note(f"{called} has no records: others will find none")
    return packet


def _called(path: str) -> str:
    return "the standard input" if path == "-" else path


def _read(path: str, most: int) -> bytes:
    """Return the bytes of a file, and no more than one beyond so many; raise `UsageError`."""
    from dhtd.config.signing_key import is_secret

    try:
        with open(0 if path == "-" else path, "rb") as file:  # noqa: PTH123 - a descriptor is no path
            data = file.read(most + 1)
            is_private = path != "-" and not os.fstat(file.fileno()).st_mode & 0o077
    except OSError as error:
        raise UsageError(f"cannot read {_called(path)}: {error.strerror}") from None
    if is_private and is_secret(data):
        raise UsageError(
            f"{path} looks like the secret of a key, which everybody could read: is it meant for --key? If it is no"
            " secret, put it as the standard input"
        )
    return data
