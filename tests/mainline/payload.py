"""A small torrent without a tracker: only the DHT can tell who has it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from random import Random
from typing import Any, Final, Self

import libtorrent as lt

from dhtd.wire import bencode
from tests.e2e.daemons import DEADLINE, POLL

PORT: Final = 4_001  # at which the seeder and the clients serve it
NAME: Final = "payload.bin"

_PIECE: Final = 1 << 14
_PIECES: Final = 4
_ALONE: Final = lt.torrent_flags.disable_pex | lt.torrent_flags.disable_lsd


@dataclass(frozen=True, slots=True)
class Payload:
    """What a torrent holds, and its metainfo."""

    data: bytes
    metainfo: bytes
    info_hash: str

    @classmethod
    def of(cls, seed: int) -> Self:
        """Return the payload of this seed, the same each time."""
        data = Random(seed).randbytes(_PIECE * _PIECES)
        pieces = b"".join(sha1(data[at : at + _PIECE]).digest() for at in range(0, len(data), _PIECE))
        info = {b"length": len(data), b"name": NAME.encode(), b"piece length": _PIECE, b"pieces": pieces}
        return cls(data, bencode.encode({b"info": info}), sha1(bencode.encode(info)).hexdigest())

    def is_in(self, directory: Path) -> bool:
        """Whether all of it is there."""
        file = directory / NAME
        return file.exists() and file.read_bytes() == self.data

    def wait_in(self, directory: Path) -> float:
        """Wait until all of it is there; return the seconds that this took."""
        begun = time.monotonic()
        while not self.is_in(directory):
            assert time.monotonic() < begun + DEADLINE, f"no payload in {directory}"
            time.sleep(POLL)
        return time.monotonic() - begun


class Peer:
    """A libtorrent without a DHT, which serves a payload at an address, to all that learn of it elsewhere."""

    def __init__(self, address: str, payload: Payload, directory: Path) -> None:
        directory.mkdir()
        (directory / NAME).write_bytes(payload.data)
        self._session = lt.session(
            {
                "listen_interfaces": f"{address}:{PORT}",
                "enable_dht": False,
                "enable_lsd": False,
                "enable_upnp": False,
                "enable_natpmp": False,
                "unchoke_interval": 1,  # not 15 s, which would hide the time of the DHT
                "alert_mask": 0,
            }
        )
        self._session.add_torrent(torrent(payload, directory, lt.torrent_flags.seed_mode))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.pause()
        del self._session


def torrent(payload: Payload, directory: Path, flags: int = 0) -> Any:
    """Return what `add_torrent` of a session asks for. Peers tell each other of no peers."""
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(payload.metainfo)
    params.save_path = str(directory)
    params.flags = flags | _ALONE
    return params


def magnet(payload: Payload, directory: Path) -> Any:
    """Return the same, of somebody who has no more than the link."""
    params = lt.parse_magnet_uri(f"magnet:?xt=urn:btih:{payload.info_hash}")
    params.save_path = str(directory)
    params.flags = _ALONE
    return params
