"""The daemon whole: what is opened in which order, what runs beside what, and how it ends."""

from __future__ import annotations

import logging
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from types import FrameType

import trio

from dhtd.control.server import ControlSocket, serve
from dhtd.core.metric import NATIVE, Id
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT
from dhtd.daemon import log as log_module
from dhtd.daemon.config import Settings, changes
from dhtd.daemon.driver import Driver, clock
from dhtd.daemon.handler import Handler
from dhtd.daemon.notify import notify
from dhtd.daemon.report import Report
from dhtd.daemon.resolver import BootstrapHosts
from dhtd.daemon.saver import Saver
from dhtd.daemon.state_file import StateFile
from dhtd.daemon.udp import UdpSockets, open_sockets
from dhtd.errors import DhtdError, StateError
from dhtd.wire.native import NativeCodec

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

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

    `announce` is called when it is ready, `reload` on SIGHUP. Raises a `DhtdError` where it cannot start or save.
    """
    early = _remember_signals()
    log_module.set_up(settings.log_level, settings.log_format)
    with (
        closing(StateFile.open(settings.state)) as state_file,
        open_sockets(settings.bind, settings.port) as udp_sockets,
        ControlSocket(settings.socket) as control,
    ):
        if state_file.notice is not None:
            log.error("%s", state_file.notice)
        daemon = Daemon(settings, state_file, UdpSockets(udp_sockets, DEFAULT), control)
        trio.run(daemon.serve, early, announce, reload)


def _remember_signals() -> list[int]:
    """Have the signals put into the list that is returned, whenever `Daemon.serve` does not receive them.

    So those of the first moments wait until they can be obeyed, and one that comes after the end does no harm. This
    holds for the rest of the process: to take it back would leave moments in which Ctrl-C prints a traceback.
    """
    seen: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        if number in seen and number != signal.SIGHUP:
            os._exit(128 + number)  # the start, or the very end, hangs
        seen.append(number)

    for number in SIGNALS:
        signal.signal(number, remember)
    return seen


class Daemon:
    """One node with everything around it."""

    def __init__(self, settings: Settings, state_file: StateFile, udp: UdpSockets, control: ControlSocket) -> None:
        self._settings = settings
        self._control = control
        rng = random.SystemRandom()
        node_id = _node_id(settings, state_file, rng)
        policy = replace(DEFAULT, rate_limit=settings.rate_limit)
        node = Node(node_id, NativeCodec(), rng=rng, now=clock(), policy=policy, local=udp.local())
        self._driver = Driver(node, udp)
        self._saver = Saver(state_file, clock)
        self._saver.restore(node)
        self._report = Report(self._driver, settings)
        self._hosts = BootstrapHosts(self._driver, settings.bootstrap)

    async def serve(
        self, early: Iterable[int], announce: Callable[[Ready], None], reload: Callable[[], Settings]
    ) -> None:
        """Run until a signal says to stop, perhaps one of those that came `early`, then save."""
        failure: StateError | None = None
        with trio.open_signal_receiver(*SIGNALS) as signals:
            for number in early:
                signal.raise_signal(number)
            async with trio.open_nursery() as outer:
                running = trio.CancelScope()
                outer.start_soon(self._obey, signals, running, reload)
                with running:
                    async with trio.open_nursery() as nursery:
                        handler = Handler(self._driver, self._saver, self._report)
                        nursery.start_soon(self._driver.run)
                        nursery.start_soon(self._hosts.run)
                        nursery.start_soon(self._saver.run, self._driver.node)
                        nursery.start_soon(serve, self._control.listening, handler)
                        announce(self._ready())
                        notify("READY=1")
                try:
                    await self._saver.save(self._driver.node)
                except StateError as error:
                    failure = error
                outer.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _obey(
        self, signals: AsyncIterator[int], running: trio.CancelScope, reload: Callable[[], Settings]
    ) -> None:
        async for number in signals:
            if number == signal.SIGHUP:
                if not running.cancel_called:
                    self._reload(reload)
            elif running.cancel_called:
                log.warning("stopping at once; what was not saved is lost")
                self._control.remove()
                os._exit(128 + number)  # a thread may hang in the disk: nothing gentler is sure to end
            else:
                log.info("stopping on %s; a second signal does not wait", signal.Signals(number).name)
                notify("STOPPING=1")
                running.cancel()

    def _reload(self, reload: Callable[[], Settings]) -> None:
        """Take what has changed in the configuration, as far as that can be done while running."""
        try:
            settings = reload()
        except DhtdError as error:
            log.error("the configuration is left as it was: %s", error)
            return
        found = changes(self._settings, settings)
        for change in found:
            log.info("%s", change)
        if not found:
            log.info("read the configuration again: nothing has changed")
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
