"""The daemon whole: what is opened in which order, what runs beside what, and how it ends."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from dhtd.config import key_file
from dhtd.config.access_token import token_of
from dhtd.config.networks import MAINLINE, NETWORKS
from dhtd.config.settings import Settings
from dhtd.control.connection import Farewell
from dhtd.control.socket_file import ControlSocket
from dhtd.daemon import log as log_module
from dhtd.daemon import watchdog
from dhtd.daemon.clients import Clients
from dhtd.daemon.declaring import Declaring
from dhtd.daemon.descriptors import as_lack
from dhtd.daemon.discovery.moves import Moves
from dhtd.daemon.discovery.resolver import BootstrapHosts, SystemResolver
from dhtd.daemon.doors import Doors
from dhtd.daemon.driver import Driver, clock
from dhtd.daemon.goodbye import say_goodbye
from dhtd.daemon.guards.guards import Guards
from dhtd.daemon.handler import Handler
from dhtd.daemon.make_driver import make_driver
from dhtd.daemon.notify import notify
from dhtd.daemon.own_entries import OwnEntries
from dhtd.daemon.reloading import Reloading
from dhtd.daemon.report import NodeReport
from dhtd.daemon.serving import Serving
from dhtd.daemon.signals import Signals, Terminal, in_another_thread
from dhtd.daemon.sockets.links import Links
from dhtd.daemon.sockets.own_networks import networks_of, own_addresses
from dhtd.daemon.sockets.udp import UdpSockets, open_sockets
from dhtd.daemon.state import network_mark
from dhtd.daemon.state.file import StateFile
from dhtd.daemon.state.restorer import AT_ONCE
from dhtd.daemon.state.saver import Saver
from dhtd.daemon.timeline import boot_id
from dhtd.errors import EXIT_DONE, DhtdError, InternalError
from dhtd.service.door import Door, House
from dhtd.service.owner import StopResult
from dhtd.wire.network_key import NetworkKey

HANGUP_GRACE: Final = 1.0  # seconds after SIGHUP until a terminal that went away is surely known to have gone

log = logging.getLogger("dhtd")


@dataclass(frozen=True, slots=True)
class Ready:
    """What is announced once the daemon can be used."""

    node_id: str
    endpoints: list[str]
    socket: str
    state: str
    pid: int
    doors: list[str]  # where programs knock, beside the socket


Announce = Callable[[Ready], None]
Reload = Callable[[], Settings]


def run(
    settings: Settings,
    announce: Announce,
    reload: Reload,
    *,
    doors: Sequence[Door] = (),
    change_network: bool = False,
) -> None:
    """Run a daemon until SIGTERM, SIGINT or a client ends it; return once its state is saved.

    `announce` is called when it is ready, `reload` on SIGHUP. `doors` are opened, served and closed. `change_network`:
    see `network_mark`.
    Raises a `DhtdError` where it cannot start or save, or where a defect ends it: then the log has the traceback.
    """
    signals = Signals(_last_words)
    log_module.set_up(settings.log_level, settings.log_format)
    log_module.catch_the_rest()
    signals.watch()
    try:
        with opened(settings, doors, change_network=change_network) as daemon:
            signals.last_words = daemon.say_last_words
            daemon.run(signals, announce, reload)
    except DhtdError as error:
        raise as_lack(error) or error from error
    except Exception as error:
        lack = as_lack(error)
        if lack is not None:
            raise lack from error
        log.exception("a defect in dhtd ends it")
        raise InternalError("a defect in dhtd has ended it; the log has the details") from None
    finally:
        log_module.flush()
        signals.unwatch()
        signals.die()


@contextmanager
def opened(settings: Settings, doors: Sequence[Door] = (), *, change_network: bool = False) -> Iterator[Daemon]:
    """Yield a daemon with its state file, its sockets and its doors, which are closed when the context ends."""
    keys = key_file.read_all(settings.network_key, os.environ)
    network = NETWORKS[settings.network]
    with closing(StateFile.open(settings.state, network.keyspace)) as state_file:
        _say(state_file)  # before anything else can fail: the next start finds nothing wrong with the file
        with (
            open_sockets(settings.bind, settings.port) as udp_sockets,
            ControlSocket(settings.socket, settings.socket_group) as control,
            closing(Links()) as links,  # which hears of what changes from now on
            Doors(doors) as opened_doors,
        ):
            if control.notice is not None:
                log.warning("%s", control.notice)
            network_mark.claim(state_file, keys, change=change_network)
            udp = UdpSockets(udp_sockets, network.policy)
            yield Daemon(settings, keys, state_file, udp, control, links, opened_doors)


def _say(state_file: StateFile) -> None:
    """Log what is wrong with the state file."""
    if state_file.notice is not None:
        log.error("%s", state_file.notice)
    for warning in state_file.warnings:
        log.warning("%s", warning)


def _last_words() -> None:
    log_module.say_at_once("stopping at once; what was not saved is lost")


class Daemon:
    """One node with everything around it.

    Without signals to obey, it is a guest in a process of others: then it leaves the service manager and the garbage
    collector alone. See `Guest`.
    """

    def __init__(
        self,
        settings: Settings,
        keys: Sequence[NetworkKey],
        state_file: StateFile,
        udp: UdpSockets,
        control: ControlSocket,
        links: Links,
        doors: Doors,
    ) -> None:
        self._settings = settings
        self._doors = doors
        self._token = token_of(settings)
        self._control = control
        udp.open_channels()
        addresses = own_addresses(udp.listening())
        self._driver = make_driver(settings, keys, state_file, udp, networks_of(addresses))
        self._saver = Saver(state_file, clock, boot=boot_id(), labels=self._driver.labels)
        self._saver.restore(self._driver.node, AT_ONCE)
        saver, keyspace = self._saver, self._driver.node.codec.traits.keyspace
        self._clients = Clients(control, settings, keyspace)
        self._guards = Guards(self._driver, saver)
        self._report = NodeReport(
            self._driver,
            settings,
            self._clients.counters,
            self._guards,
            state_file.notices,
            lambda: saver.is_restoring,
            doors.places,
        )
        routers = NETWORKS[settings.network].routers if settings.public_bootstrap else ()
        self._hosts = BootstrapHosts(self._driver, settings.bootstrap, routers)
        self._serving = Serving(self._driver, settings.read_only if settings.network == MAINLINE.name else "no")
        self._serving.begin()
        self._moves = Moves(self._driver, links, addresses)
        own = OwnEntries(self._driver, saver, self._guards)
        self._declaring = Declaring(own, self._driver.labels, keyspace)
        self._reloading = Reloading(settings, self._driver, saver, self._hosts, self._declaring)
        self.farewells: list[Farewell] = []
        self._is_guest = False
        self._running = trio.CancelScope()
        self._is_stopping = trio.Event()
        self._terminal = Terminal()

    def run(self, signals: Signals, announce: Announce, reload: Reload) -> None:
        """Serve until somebody or something ends it; then save, whatever it was.

        Saving is not a part of `serve`: that may have failed as a whole.
        """
        outcome: StopResult | DhtdError = {"pid": os.getpid()}
        signals.unwatch()
        try:
            trio.run(self.serve, signals, announce, reload)
        except BaseException as error:
            lack = as_lack(error)
            if lack is None:
                log.exception("a defect in dhtd ends it")
            outcome = lack or InternalError("a defect in dhtd has ended it; the log has the details")
        signals.watch()
        try:
            in_another_thread(self.save)
        except DhtdError as error:
            outcome = error
        except Exception:
            log.exception("the state could not be saved: a defect in dhtd")
            outcome = InternalError("a defect in dhtd has kept the state from being saved; the log has the details")
        for farewell in self.farewells:
            farewell.say(outcome)
        signals.final_status = outcome.exit_status if isinstance(outcome, DhtdError) else EXIT_DONE
        signals.last_words = self._control.remove
        if isinstance(outcome, DhtdError):
            raise outcome

    def save(self) -> None:
        """Save the state. It must not be served any more."""
        self._saver.save_now(self._driver.node)

    def say_last_words(self) -> None:
        """Do the little that can be done before the process ends without having saved."""
        _last_words()
        self._control.remove()

    async def serve(self, signals: Signals | None, announce: Announce, reload: Reload) -> None:
        """Serve until a signal says to stop, perhaps one that has come already, or a client does, or `stop`."""
        self._is_guest = signals is None
        trio.socket.set_custom_hostname_resolver(SystemResolver())
        driver, persist = self._driver, self._driver.defects.persist
        with self._running, nullcontext() if signals is None else signals.watched():
            async with trio.open_nursery() as nursery:
                hosts = self._hosts
                handler = Handler(
                    driver, self._saver, self._guards, self._report, token=self._token, hosts=lambda: hosts.hosts
                )
                if signals is not None:
                    obey = partial(self._obey, signals, reload, nursery)
                    nursery.start_soon(persist, "signals could not be obeyed", obey)
                nursery.start_soon(driver.run)
                nursery.start_soon(persist, "nobody could be told that this node stops", self._end)
                nursery.start_soon(persist, "bootstrap hosts could not be looked up", self._hosts.run)
                nursery.start_soon(persist, "own addresses could not be watched", self._moves.run)
                nursery.start_soon(persist, "who reaches this node could not be watched", self._serving.run)
                nursery.start_soon(persist, "the state could not be restored", partial(self._restore_rest, driver))
                declare = partial(self._declaring.begin, self._saver.restored, self._settings.entries)
                nursery.start_soon(persist, "declared entries could not be entered", declare)
                nursery.start_soon(persist, "the state could not be kept", partial(self._saver.run, driver.node))
                nursery.start_soon(
                    persist, "holders could not be written down", partial(self._saver.write_ahead, driver)
                )
                nursery.start_soon(persist, "entries could not be guarded", self._guards.run)
                nursery.start_soon(
                    persist,
                    "clients could not be served",
                    partial(self._clients.serve, handler, self._stop_for, driver.defects.note),
                )
                nursery.start_soon(persist, "the control socket could not be kept", self._clients.keep)
                nursery.start_soon(persist, "the canary could not be looked for", handler.canary.run)
                if not self._is_guest and (every := watchdog.interval(os.environ)) is not None:
                    watch = partial(watchdog.watch, handler.canary, every, notify)
                    nursery.start_soon(persist, "the watchdog could not be told", watch)
                keyspace, token = driver.node.codec.traits.keyspace, self._token
                house = House(handler, keyspace, token.matches if token else lambda _: False, driver.defects.note)
                for door in self._doors.all:
                    nursery.start_soon(persist, "programs could not be let in", partial(door.serve, house))
                announce(self._ready())
                self._notify("READY=1")

    async def _restore_rest(self, driver: Driver) -> None:
        """Restore what is left of the state. It is here to stay, so the garbage collector need not look at it again."""
        await self._saver.restore_rest(driver)
        if not self._is_guest:
            gc.freeze()

    async def _obey(self, signals: Signals, reload: Reload, nursery: trio.Nursery) -> None:
        """Obey one signal after the other; the second one to end is obeyed by `signals` itself."""
        while True:
            number = await signals.receive()
            if number != signal.SIGHUP:
                self.stop(f"on {signal.Signals(number).name}; a second signal does not wait")
            elif not self._stop_without_terminal():
                self._clients.renew()
                nursery.start_soon(self._look_at_terminal)
                nursery.start_soon(self._reloading.reload, reload)

    async def _look_at_terminal(self) -> None:
        """Look again: a terminal that goes away sends SIGHUP first, and has gone a moment later."""
        await trio.sleep(HANGUP_GRACE)
        self._stop_without_terminal()

    def _stop_without_terminal(self) -> bool:
        """Stop if the terminal that the daemon was started on is gone; return whether it is."""
        if self._terminal.is_gone:
            self.stop("because its terminal was closed")
            return True
        return False

    def _stop_for(self, farewell: Farewell) -> None:
        self.farewells.append(farewell)
        self.stop("because a client asks for it")

    def stop(self, why: str) -> None:
        """Have it say goodbye, and end `serve`."""
        if not self._is_stopping.is_set():
            log.info("stopping %s", why)
            self._notify("STOPPING=1")
            self._is_stopping.set()

    def vanish(self) -> None:
        """End `serve` at once, as if the process was killed: nobody is told, and the socket's file stays."""
        self._control.desert()
        self._running.cancel()

    async def joined(self) -> None:
        """Wait until this node has joined its network."""
        await self._driver.joined.wait()

    def _notify(self, state: str) -> None:
        if not self._is_guest:
            notify(state)

    async def _end(self) -> None:
        """Once it is to stop, say goodbye, and end everything."""
        await self._is_stopping.wait()
        try:
            await say_goodbye(self._driver, self._settings.on_stop)
        finally:
            self._running.cancel()

    def _ready(self) -> Ready:
        return Ready(
            node_id=self._driver.node.codec.traits.keyspace.format(self._driver.node.own_id),
            endpoints=list(map(self._driver.udp.zones.text, self._driver.udp.listening())),
            socket=str(self._settings.socket),
            state=str(self._settings.state),
            pid=os.getpid(),
            doors=self._doors.places,
        )
