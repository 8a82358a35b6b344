"""Reads the configuration again on SIGHUP. Some settings change at once; for the others the log asks for a restart."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import trio

from dhtd.config import key_file
from dhtd.config.settings import NETWORK, SETTINGS, Settings
from dhtd.config.sources import changes
from dhtd.control.threads import in_thread
from dhtd.daemon import log as log_module
from dhtd.daemon.declaring import Declaring
from dhtd.daemon.discovery.resolver import BootstrapHosts
from dhtd.daemon.driver import Driver
from dhtd.daemon.sealing import say_keys
from dhtd.daemon.state import network_mark
from dhtd.daemon.state.saver import Saver
from dhtd.errors import ConfigError, DhtdError, NoThread, WrongNetwork
from dhtd.wire.network_key import NetworkKey

READ_WITHIN: Final = 10.0  # seconds until a configuration that does not come is left alone

log = logging.getLogger("dhtd")


class Reloading:
    """The settings in use, and the parts of the daemon that follow them."""

    def __init__(
        self, settings: Settings, driver: Driver, saver: Saver, hosts: BootstrapHosts, declaring: Declaring
    ) -> None:
        self._settings = settings
        self._driver = driver
        self._saver = saver
        self._hosts = hosts
        self._declaring = declaring
        self._reader = trio.CapacityLimiter(1)

    async def reload(self, load: Callable[[], Settings]) -> None:
        """Read the configuration, apply the changes that need no restart, and read the files of declared entries."""
        try:
            with trio.fail_after(READ_WITHIN):
                self._change(*await self._read(load))
        except trio.TooSlowError:
            log.error("the configuration is left as it was: it cannot be read within %.0f s", READ_WITHIN)
        except DhtdError as error:
            log.error("the configuration is left as it was: %s", error)
        except Exception:  # noqa: BLE001 - noted
            self._driver.defects.note("the configuration could not be read again")
        try:
            await self._declaring.read(self._settings.entries)
        except Exception:  # noqa: BLE001 - noted
            self._driver.defects.note("declared entries could not be read again")

    async def _read(self, load: Callable[[], Settings]) -> tuple[Settings, tuple[NetworkKey, ...]]:
        """Read settings and keys in a thread: their files may be pipes, or on a disk that hangs."""

        def read() -> tuple[Settings, tuple[NetworkKey, ...]]:
            settings = load()
            return settings, key_file.read_all(settings.network_key, os.environ)

        try:
            return await in_thread(read, self._reader, may_be_left=True)
        except NoThread:
            return read()

    def _change(self, settings: Settings, keys: tuple[NetworkKey, ...]) -> None:
        self._refuse_another_network(keys)
        found = changes(self._settings, settings)
        for change in found:
            if change.key == NETWORK.key:  # the defaults of other settings are those of the other network
                raise ConfigError(str(change))
        for change in found:
            log.info("%s", change)
        rekeyed = self._rekey(keys)
        if not found and not rekeyed:
            log.info("read the configuration again: nothing has changed")
        log_module.set_up(settings.log_level, settings.log_format)
        limits = settings.rate_limit, settings.rate_limit_total
        if limits != (self._settings.rate_limit, self._settings.rate_limit_total):
            self._driver.node.gate.limit_rate(*limits)
        if settings.bootstrap != self._settings.bootstrap:
            self._hosts.change(settings.bootstrap)
        taken = {row.field: getattr(settings, row.field) for row in SETTINGS if row.at_run_time}
        if not (keys and self._driver.seal):  # a node stays open, or sealed
            del taken["network_key"]
        self._settings = replace(self._settings, **taken)

    def _refuse_another_network(self, keys: Sequence[NetworkKey]) -> None:
        """Raise if none of the keys is in use: nobody in the network has it yet, or it belongs to another network."""
        seal = self._driver.seal
        if seal is not None and keys and not set(keys) & set(seal.keys):
            raise WrongNetwork(
                "no network key is one of those in use, so this node would leave its network: name the new key as the"
                " second one first, see dhtd(8); or restart dhtd with --change-network"
            )

    def _rekey(self, keys: Sequence[NetworkKey]) -> bool:
        """Seal and open with these keys from now on; return whether they differ. An open node stays open."""
        seal = self._driver.seal
        if seal is None or not keys or seal.keys == tuple(keys):
            return False
        seal.change(keys)
        say_keys(keys)
        self._saver.mark(network_mark.fingerprints(keys))
        return True
