"""The HTTP door: its addresses, from their opening to their closing."""

from __future__ import annotations

import logging
import secrets
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import trio

from dhtd.config.addresses import UNIX
from dhtd.config.settings import Settings
from dhtd.control.bound_socket import bind
from dhtd.control.socket_file import ControlSocket, Role
from dhtd.errors import ConfigError, DhtdError
from dhtd.http.app import App, Site
from dhtd.http.caller import Streams
from dhtd.http.connections import Places, cut_at_end, serve
from dhtd.http.guard import Guard
from dhtd.http.watch_memory import WatchMemory
from dhtd.service.door import House

HTTP: Final = Role("HTTP socket", "--http", "unix:", "Choose another with --http")
ID_SIZE: Final = 9  # bytes of the id of an event
LOOK_INTERVAL: Final = 60.0  # seconds between looks at whether a socket is still there

log = logging.getLogger("dhtd.http")


class HttpDoor:
    """The addresses of the setting `http`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sockets: list[socket.socket] = []
        self._files: list[ControlSocket] = []
        self._tls: ssl.SSLContext | None = None
        self._opened = ExitStack()

    def open(self) -> list[str]:
        with ExitStack() as opened:
            settings = self._settings
            if settings.http_tls:
                self._tls = _tls(settings.http_tls)
            scheme = "http" if self._tls is None else "https"
            where = []
            for text in settings.http:
                if text.startswith(UNIX):
                    path = Path(text.removeprefix(UNIX))
                    self._files.append(opened.enter_context(ControlSocket(path, None, HTTP)))
                    where.append(f"{scheme}+unix://{path}")
                else:
                    listening = opened.enter_context(bind(text, HTTP.option))
                    self._sockets.append(listening)
                    where.append(f"{scheme}://{text.rpartition(':')[0]}:{listening.getsockname()[1]}")
            self._opened = opened.pop_all()
        return where

    async def serve(self, house: House) -> None:
        places = Places()
        site = Site(house, Streams(), WatchMemory(lambda: secrets.token_urlsafe(ID_SIZE)))
        hosts = frozenset(name.lower() for name in self._settings.http_host)
        scheme = "http" if self._tls is None else "https"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut_at_end, places)

            def listen(listening: socket.socket, is_token: Callable[[str], bool] | None) -> None:
                listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
                app = App(site, Guard(is_token, hosts, scheme), house.note)
                nursery.start_soon(serve, listener, app, places, house.note, self._tls)

            for listening in self._sockets:
                listen(listening, house.is_token)
            for file in self._files:
                listen(file.listening, None)
                nursery.start_soon(self._keep, file, partial(listen, is_token=None))

    async def _keep(self, file: ControlSocket, listen: Callable[[socket.socket], None]) -> None:
        """Make a socket again where somebody has removed its file. Clients of the old one stay connected."""
        complaint = ""
        while True:
            await trio.sleep(LOOK_INTERVAL)
            if not file.is_lost:
                continue
            old = file.listening
            try:
                file.renew()
            except DhtdError as error:
                if str(error) != complaint:  # said once: the next look comes soon
                    log.error("the HTTP socket was removed, and cannot be made again: %s", error)
                complaint = str(error)
            else:
                log.warning("the HTTP socket was removed: made it again")
                complaint = ""
                self._opened.callback(old.close)
                listen(file.listening)

    def close(self) -> None:
        self._opened.close()


def _tls(files: Sequence[Path]) -> ssl.SSLContext:
    """Return what TLS needs, from the files of certificate and key; raise `ConfigError`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    certificate, key, named = files[0], files[-1], " and ".join(map(str, files))
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise ConfigError(f"{named}: no certificate with its key in PEM: {error.reason or error}") from None
    except OSError as error:
        raise ConfigError(f"{named}: the certificate or its key cannot be read: {error.strerror}") from None
    return context
