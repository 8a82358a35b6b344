"""The daemon whole: what is opened in which order, what runs beside what, and how it ends."""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING

import trio

from dhtd.control.limits import ControlCounters, Limits
from dhtd.control.server import serve
from dhtd.control.socket_file import ControlSocket
from dhtd.core.metric import NATIVE, Id
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT, Policy
from dhtd.daemon import key_file, network_mark
from dhtd.daemon import log as log_module
from dhtd.daemon.config import Settings, changes
from dhtd.daemon.driver import Driver, clock
from dhtd.daemon.handler import Handler
from dhtd.daemon.notify import notify
from dhtd.daemon.own_networks import networks_of, own_addresses
from dhtd.daemon.report import Report
from dhtd.daemon.resolver import BootstrapHosts, SystemResolver
from dhtd.daemon.saver import Saver
from dhtd.daemon.state_file import StateFile
from dhtd.daemon.udp import UdpSockets, open_sockets
from dhtd.errors import DhtdError, StateError, WrongNetwork
from dhtd.wire.native import NativeCodec
from dhtd.wire.network_key import NetworkKey

if TYPE_CHECKING:
    from dhtd.wire.sealed import Seal

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


def run(
    settings: Settings,
    announce: Callable[[Ready], None],
    reload: Callable[[], Settings],
    *,
    change_network: bool = False,
) -> None:
    """Run a daemon until SIGTERM or SIGINT; return once its state is saved.

    `announce` is called when it is ready, `reload` on SIGHUP. `change_network`: see `network_mark`.
    Raises a `DhtdError` where it cannot start or save.
    """
    early = _remember_signals()
    log_module.set_up(settings.log_level, settings.log_format)
    keys = key_file.read_all(settings.network_key, os.environ)
    with (
        closing(StateFile.open(settings.state)) as state_file,
        open_sockets(settings.bind, settings.port) as udp_sockets,
        ControlSocket(settings.socket, settings.socket_group) as control,
    ):
        if state_file.notice is not None:
            log.error("%s", state_file.notice)
        for warning in state_file.warnings:
            log.warning("%s", warning)
        if control.notice is not None:
            log.warning("%s", control.notice)
        network_mark.claim(state_file, keys, change=change_network)
        daemon = Daemon(settings, keys, state_file, UdpSockets(udp_sockets, DEFAULT), control)
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


def policy_of(settings: Settings, own: tuple[bytes, ...] = ()) -> Policy:
    """Return the policy of a node with these settings, in these `own` networks; the rest is as it is by default."""
    return replace(
        DEFAULT,
        rate_limit=settings.rate_limit,
        rate_limit_total=settings.rate_limit_total,
        store_entries=settings.max_entries,
        operations=settings.max_operations,
        exempt_networks=(*DEFAULT.exempt_networks, *settings.exempt_network),
        own_networks=own,
        **{cap.name: cap.number for cap in settings.cap},  # fields of it
    )


class Daemon:
    """One node with everything around it."""

    def __init__(
        self,
        settings: Settings,
        keys: Sequence[NetworkKey],
        state_file: StateFile,
        udp: UdpSockets,
        control: ControlSocket,
    ) -> None:
        self._settings = settings
        self._control = control
        rng = random.SystemRandom()
        node_id = _node_id(settings, state_file, rng)
        udp.open_channels()
        policy = policy_of(settings, networks_of(own_addresses(udp.listening())))
        seal = _seal(keys, node_id, rng) if keys else None
        if seal is not None:
            policy = replace(policy, datagram_sent_max=policy.datagram_sent_max - seal.overhead)
        families = udp.families
        codec = NativeCodec(dual_stack=len(families) > 1)
        node = Node(
            node_id,
            codec,
            rng=rng,
            now=clock(),
            policy=policy,
            families=families,
            local=udp.local(),
            write_ahead=True,
        )
        self._driver = Driver(node, udp, seal=seal)
        self._saver = Saver(state_file, clock)
        self._saver.restore(node)
        self._control_counters = ControlCounters()
        self._report = Report(self._driver, settings, self._control_counters)
        self._hosts = BootstrapHosts(self._driver, settings.bootstrap)

    async def serve(
        self, early: Iterable[int], announce: Callable[[Ready], None], reload: Callable[[], Settings]
    ) -> None:
        """Run until a signal says to stop, perhaps one of those that came `early`, then save."""
        failure: StateError | None = None
        trio.socket.set_custom_hostname_resolver(SystemResolver())
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
                        nursery.start_soon(self._saver.write_ahead, self._driver)
                        nursery.start_soon(self._serve, handler)
                        announce(self._ready())
                        notify("READY=1")
                try:
                    await self._saver.save(self._driver.node)
                except StateError as error:
                    failure = error
                outer.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _serve(self, handler: Handler) -> None:
        await serve(
            self._control.listening,
            handler,
            group=self._control.group,
            limits=Limits(clients=self._settings.socket_clients),
            counters=self._control_counters,
        )

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
            keys = key_file.read_all(settings.network_key, os.environ)
            self._refuse_another_network(keys)
        except DhtdError as error:
            log.error("the configuration is left as it was: %s", error)
            return
        found = changes(self._settings, settings)
        for change in found:
            log.info("%s", change)
        rekeyed = self._rekey(keys)
        if not found and not rekeyed:
            log.info("read the configuration again: nothing has changed")
        log_module.set_up(settings.log_level, settings.log_format)
        limits = settings.rate_limit, settings.rate_limit_total
        if limits != (self._settings.rate_limit, self._settings.rate_limit_total):
            self._driver.node.limit_rate(*limits)
        if settings.bootstrap != self._settings.bootstrap:
            self._hosts.change(settings.bootstrap)
        self._settings = replace(
            self._settings,
            log_level=settings.log_level,
            log_format=settings.log_format,
            rate_limit=settings.rate_limit,
            rate_limit_total=settings.rate_limit_total,
            bootstrap=settings.bootstrap,
            network_key=settings.network_key if keys and self._driver.seal else self._settings.network_key,
        )

    def _refuse_another_network(self, keys: Sequence[NetworkKey]) -> None:
        """Raise where no key is one of those in use: nobody in the network has it yet, or it is another network's."""
        seal = self._driver.seal
        if seal is not None and keys and not set(keys) & set(seal.keys):
            raise WrongNetwork(
                "no network key is one of those in use, so this node would leave its network: name the new key as the"
                " second one first, see dhtd(8); or restart dhtd with --change-network"
            )

    def _rekey(self, keys: Sequence[NetworkKey]) -> bool:
        """Seal and open with other keys from now on; return whether they are others. A node stays open, or sealed."""
        seal = self._driver.seal
        if seal is None or not keys or seal.keys == tuple(keys):
            return False
        seal.change(keys)
        _say_keys(keys)
        self._saver.mark(network_mark.fingerprints(keys))
        return True

    def _ready(self) -> Ready:
        return Ready(
            node_id=NATIVE.format(self._driver.node.own_id),
            endpoints=list(map(self._driver.udp.zones.text, self._driver.udp.listening())),
            socket=str(self._settings.socket),
            state=str(self._settings.state),
            pid=os.getpid(),
        )


def _seal(keys: Sequence[NetworkKey], node_id: Id, rng: random.Random) -> Seal:
    from dhtd.wire.sealed import Seal  # noqa: PLC0415 - it imports libsodium, which only a private network needs

    _say_keys(keys)
    return Seal(keys, node_id, rng, time.time())


def _say_keys(keys: Sequence[NetworkKey]) -> None:
    first, *others = [key.fingerprint for key in keys]
    besides = "".join(f", and opened with {other} too" for other in others)
    log.info("a private network: datagrams are sealed and opened with the key %s%s", first, besides)


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
