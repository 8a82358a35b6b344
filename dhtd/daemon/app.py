"""The daemon whole: what is opened in which order, what runs beside what, and how it ends."""

from __future__ import annotations

import logging
import os
import random
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass, replace

import trio

from dhtd.control.server import control_socket, serve
from dhtd.core.metric import NATIVE, Id
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT
from dhtd.daemon import log as log_module
from dhtd.daemon.config import Settings, changes
from dhtd.daemon.driver import Driver
from dhtd.daemon.handler import Handler
from dhtd.daemon.notify import notify
from dhtd.daemon.report import Report
from dhtd.daemon.resolver import BootstrapHosts
from dhtd.daemon.saver import Saver
from dhtd.daemon.state_file import StateFile
from dhtd.daemon.udp import UdpSockets, open_sockets
from dhtd.errors import ConfigError, StateError
from dhtd.wire.native import NativeCodec

log = logging.getLogger("dhtd")


@dataclass(frozen=True, slots=True)
class Ready:
    """What is announced once the daemon can be used."""

    node_id: str
    endpoints: list[str]
    socket: str
    state: str
    pid: int


def run(settings: Settings, announce: Callable[[Ready], None], reload: Callable[[], Settings]) -> None:
    """Run a daemon until SIGTERM or SIGINT; return once its state is saved.

    `announce` is called when it is ready, `reload` on SIGHUP. Raises a `DhtdError` where it cannot start.
    """
    log_module.set_up(settings.log_level, settings.log_format)
    with (
        closing(StateFile.open(settings.state)) as state_file,
        open_sockets(settings.bind, settings.port) as udp_sockets,
        control_socket(settings.socket) as listening,
    ):
        if state_file.set_aside is not None:
            log.error(
                "the state file %s was damaged: it is kept as %s, and a new one begins, with no entries",
                settings.state,
                state_file.set_aside,
            )
        daemon = Daemon(settings, state_file, UdpSockets(udp_sockets, DEFAULT))
        trio.run(daemon.serve, listening, announce, reload)


class Daemon:
    """One node with everything around it."""

    def __init__(self, settings: Settings, state_file: StateFile, udp: UdpSockets) -> None:
        self._settings = settings
        rng = random.SystemRandom()
        node_id = _node_id(settings, state_file, rng)
        policy = replace(DEFAULT, rate_limit=settings.rate_limit)
        node = Node(node_id, NativeCodec(), rng=rng, now=time.monotonic(), policy=policy)
        self._driver = Driver(node, udp, time.monotonic)
        self._saver = Saver(state_file, time.monotonic)
        self._saver.restore(node)
        self._report = Report(self._driver, settings)
        self._hosts = BootstrapHosts(self._driver, settings.bootstrap)

    async def serve(
        self, listening: socket.socket, announce: Callable[[Ready], None], reload: Callable[[], Settings]
    ) -> None:
        """Run until a signal says to stop, then save."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async with trio.open_nursery() as outer:
                running = trio.CancelScope()
                outer.start_soon(self._obey, signals, running, reload)
                with running:
                    async with trio.open_nursery() as nursery:
                        handler = Handler(self._driver, self._saver, self._report)
                        nursery.start_soon(self._driver.run)
                        nursery.start_soon(self._hosts.run)
                        nursery.start_soon(self._saver.run, self._driver.node)
                        nursery.start_soon(serve, listening, handler)
                        announce(self._ready())
                        notify("READY=1")
                await self._save_at_the_end()
                outer.cancel_scope.cancel()

    async def _obey(
        self, signals: AsyncIterator[int], running: trio.CancelScope, reload: Callable[[], Settings]
    ) -> None:
        async for number in signals:
            if number == signal.SIGHUP:
                self._reload(reload)
            elif running.cancel_called:
                log.warning("stopping at once; what was not saved is lost")
                os._exit(128 + number)  # a thread may hang in the disk: nothing gentler is sure to end
            else:
                log.info("stopping on %s; a second signal does not wait", signal.Signals(number).name)
                notify("STOPPING=1")
                running.cancel()

    async def _save_at_the_end(self) -> None:
        try:
            await self._saver.save(self._driver.node)
        except StateError as error:
            log.error("%s", error)

    def _reload(self, reload: Callable[[], Settings]) -> None:
        """Take what has changed in the configuration, as far as that can be done while running."""
        try:
            settings = reload()
        except ConfigError as error:
            log.error("the configuration is left as it was: %s", error)
            return
        for change in changes(self._settings, settings):
            log.info("%s", change)
        log_module.set_up(settings.log_level, settings.log_format)
        if settings.rate_limit != self._settings.rate_limit:
            self._driver.node.limit_rate(settings.rate_limit)
        if settings.bootstrap != self._settings.bootstrap:
            self._hosts.change(settings.bootstrap)
        self._settings = replace(
            self._settings,
            log_level=settings.log_level,
            log_format=settings.log_format,
            rate_limit=settings.rate_limit,
            bootstrap=settings.bootstrap,
        )

    def _ready(self) -> Ready:
        return Ready(
            node_id=NATIVE.format(self._driver.node.own_id),
            endpoints=[str(endpoint) for endpoint in self._driver.udp.listening()],
            socket=str(self._settings.socket),
            state=str(self._settings.state),
            pid=os.getpid(),
        )


def _node_id(settings: Settings, state_file: StateFile, rng: random.Random) -> Id:
    """Return the ID that was asked for, else that of the last run, else a new one; the file keeps it."""
    saved = state_file.load().node_id
    if settings.node_id is not None:
        node_id = Id(settings.node_id)
    elif saved is not None:
        node_id = saved
    else:
        node_id = NATIVE.random(rng)
    if node_id != saved:
        state_file.set_node_id(node_id)
    return node_id
