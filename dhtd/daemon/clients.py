"""The clients of the control socket, and its file, which is made again where somebody has removed it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import trio

from dhtd.config.settings import Settings
from dhtd.control.connection import Farewell
from dhtd.control.limits import ControlCounters, Limits
from dhtd.control.server import Listening, serve
from dhtd.control.socket_file import ControlSocket
from dhtd.core.ids import Keyspace
from dhtd.errors import DhtdError
from dhtd.service.method import Handler

LOOK_INTERVAL: Final = 60.0  # seconds between looks at whether the socket is still there

log = logging.getLogger("dhtd")


class Clients:
    """Serves them, and keeps the socket in its place."""

    def __init__(self, control: ControlSocket, settings: Settings, keyspace: Keyspace) -> None:
        self.counters = ControlCounters()
        self._control = control
        self._settings = settings
        self._keyspace = keyspace
        self._listening = Listening(control.listening)
        self._complaint = ""

    async def serve(self, handler: Handler, stop: Callable[[Farewell], None], note: Callable[[str], None]) -> None:
        """Serve clients until cancelled; `stop` is called for one that has the daemon stop."""
        await serve(
            self._listening,
            handler,
            group=self._control.group,
            limits=Limits(clients=self._settings.socket_clients),
            counters=self.counters,
            stop=stop,
            note=note,
            keyspace=self._keyspace,
        )

    async def keep(self) -> None:
        """Look now and then whether clients still find the socket."""
        while True:
            await trio.sleep(LOOK_INTERVAL)
            self.renew()

    def renew(self) -> None:
        """Make the socket again, if somebody has removed it."""
        if not self._control.is_lost:
            return
        try:
            self._control.renew()
        except DhtdError as error:
            if str(error) != self._complaint:  # said once: the next look comes soon
                log.error("the control socket was removed, and cannot be made again: %s", error)
            self._complaint = str(error)
        else:
            log.warning("the control socket %s was removed: made it again", self._settings.socket)
            self._complaint = ""
            self._listening.replace(self._control.listening)
