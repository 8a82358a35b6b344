"""Real clients of the Mainline network as processes: transmission, aria2, and npm's bittorrent-dht and pkarr.

Each has a home directory, an address, and one router. They find peers by the DHT alone: no tracker, no peer exchange,
no discovery on the local network.
"""

from __future__ import annotations

import json
import selectors
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, Self

from dhtd.wire import bencode
from tests.e2e.daemons import DEADLINE
from tests.mainline import modules
from tests.mainline.payload import PORT, Payload

DHT_PORT: Final = 6_881

# The program of each kind, and its package in Debian.
_PROGRAMS: Final = {
    "transmission": ("transmission-cli", "transmission-cli"),
    "aria2": ("aria2c", "aria2"),
    "bittorrent-dht": ("node", "nodejs"),
    "pkarr": ("node", "nodejs"),
}
_NODE_CLIENT: Final = Path(__file__).parent / "npm" / "client.mjs"


class MissingClientError(Exception):
    """It is not installed on this machine; the message says how it would be."""


class _Process:
    """A program that ends with its context."""

    def __init__(self, command: Sequence[str], home: Path, *, talks: bool) -> None:
        self._log = home / "log"
        with self._log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                command,
                cwd=home,
                env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(home), "LANG": "C.UTF-8"},
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else log,
                stderr=log,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-4_000:]


class Transmission(_Process):
    """transmission-cli. It asks for nothing before four nodes have answered it, and it knows more than eight.

    `known` are nodes of an earlier run, which it asks one after the other; without them it has the router alone.
    """

    def __init__(self, address: str, router: str, home: Path, payload: Payload, known: Sequence[str] = ()) -> None:
        home.mkdir()
        self.downloads = home / "downloads"
        self.downloads.mkdir()
        settings = {
            "bind-address-ipv4": address,
            "bind-address-ipv6": "::1",
            "dht-enabled": True,
            "lpd-enabled": False,
            "pex-enabled": False,
            "port-forwarding-enabled": False,
            "rpc-enabled": False,
            "utp-enabled": False,  # on its first connection it waits for uTP to fail
        }
        (home / "settings.json").write_text(json.dumps(settings))
        if known:
            nodes = b"".join(_compact(endpoint) for endpoint in known)
            earlier = {b"id": Random(address).randbytes(20), b"nodes": nodes}
            (home / "dht.dat").write_bytes(bencode.encode(earlier))
        else:
            (home / "dht.bootstrap").write_text(router.replace(":", " ") + "\n")
        command = [
            _program("transmission"),
            f"--config-dir={home}",
            f"--download-dir={self.downloads}",
            f"--port={PORT}",
        ]
        # With a magnet link it would stop when it has the metadata, and wait for its next search.
        (home / "torrent").write_bytes(payload.metainfo)
        super().__init__([*command, str(home / "torrent")], home, talks=False)


class Aria2(_Process):
    def __init__(self, address: str, router: str, home: Path, payload: Payload) -> None:
        home.mkdir()
        self.downloads = home
        (home / "torrent").write_bytes(payload.metainfo)
        command = [
            _program("aria2"),
            "--no-conf",
            f"--dir={home}",
            f"--interface={address}",
            "--disable-ipv6=true",
            "--async-dns=false",
            "--enable-dht=true",
            "--enable-dht6=false",
            f"--dht-listen-port={DHT_PORT}",
            f"--dht-entry-point={router}",
            f"--dht-file-path={home}/dht.dat",
            "--dht-message-timeout=2",
            f"--listen-port={PORT}",
            "--bt-enable-lpd=false",
            "--enable-peer-exchange=false",
            "--seed-time=10",
            "--summary-interval=0",
            str(home / "torrent"),
        ]
        super().__init__(command, home, talks=False)


class NodeClient(_Process):
    """client.mjs: a node of `bittorrent-dht` or `pkarr`, which calls their methods."""

    def __init__(self, kind: str, address: str, router: str, home: Path) -> None:
        home.mkdir()
        node, found = _program(kind), modules.directory()
        command = [node, str(_NODE_CLIENT), str(found), kind, address, str(DHT_PORT), router]
        super().__init__(command, home, talks=True)
        self.nodes = 0

    def __enter__(self) -> Self:
        try:
            self.nodes = int(self._answer()["nodes"])
        except BaseException:
            self.__exit__()
            raise
        return self

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of client.mjs, and return what comes of it."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([method, *arguments]) + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        assert "error" not in answer, (method, arguments, answer)
        return answer["result"]

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(DEADLINE), f"{_NODE_CLIENT} hangs:\n{self.log}"
        line = self.process.stdout.readline()
        assert line, f"{_NODE_CLIENT} has ended:\n{self.log}"
        return json.loads(line)


def missing(kind: str) -> str | None:
    """Return why a kind of client cannot run here; None if it can."""
    program, package = _PROGRAMS[kind]
    if shutil.which(program) is None:
        return f"{program} is not installed: apt-get install {package}"
    if program == "node" and not modules.directory().exists():
        return f"npm's {kind} is not installed: python -m tests.mainline.modules"
    return None


def _program(kind: str) -> str:
    """Return the path of a client's program; raise `MissingClientError`."""
    if (why := missing(kind)) is not None:
        raise MissingClientError(why)
    found = shutil.which(_PROGRAMS[kind][0])
    assert found is not None
    return found


def _compact(endpoint: str) -> bytes:
    host, _, port = endpoint.rpartition(":")
    return socket.inet_aton(host) + int(port).to_bytes(2, "big")
