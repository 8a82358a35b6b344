"""Serves the methods about this node and its network: node-id, status and bootstrap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import trio

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Bootstrapped
from dhtd.daemon.discovery.resolver import resolve
from dhtd.daemon.driver import Driver
from dhtd.daemon.handlers.calls import Call, Handlers, answer
from dhtd.daemon.report import NodeReport
from dhtd.errors import DhtdError, InvalidEndpoint, NoPeers, UnresolvableHost
from dhtd.service.node import (
    BOOTSTRAP,
    NODE_ID,
    STATUS,
    BootstrapRequest,
    BootstrapResult,
    NodeIdRequest,
    NodeIdResult,
    StatusRequest,
    StatusResult,
)
from dhtd.service.params import HostPort

STATUS_AGE = 10.0  # seconds for which an answer shows that the network is up
STATUS_PATIENCE = 1.0  # seconds for a contact to show it
STATUS_INTERVAL = 0.01  # seconds between looks at whether it has


class AboutNode(Handlers):
    """Tells about the node, and makes it join."""

    def __init__(self, driver: Driver, report: NodeReport) -> None:
        super().__init__(driver)
        self._report = report

    def calls(self) -> tuple[Call, ...]:
        return (
            answer(NODE_ID, self._node_id),
            answer(STATUS, self._status),
            answer(BOOTSTRAP, self._bootstrap),
        )

    async def _node_id(self, request: NodeIdRequest) -> NodeIdResult:
        return self._report.node_id()

    async def _status(self, request: StatusRequest) -> StatusResult:
        """Tell the state now. If nobody has answered for a while, ask a contact first, and wait for a moment."""
        now = self._driver.clock()
        self._node.ask_around(now - STATUS_AGE, now)
        self._driver.flush()
        with trio.move_on_after(STATUS_PATIENCE):
            while self._node.memberships.is_asking_around:  # noqa: ASYNC110 - nothing tells that a doubt has ended
                await trio.sleep(STATUS_INTERVAL)
        return self._report.status()

    async def _bootstrap(self, request: BootstrapRequest) -> BootstrapResult:
        hosts = list(dict.fromkeys(request.endpoints))
        found, unreached = await self._look_up(hosts)
        if not found:
            raise _all_of(unreached, hosts)
        # Ping them all. A host has failed if all of its addresses are silent.
        endpoints = [endpoint for at in found.values() for endpoint in at]
        event = await self.outcome(lambda now: self._node.commands.bootstrap(endpoints, now))
        assert isinstance(event, Bootstrapped)
        for host, at in found.items():
            if set(at) <= set(event.silent):
                where = self.texts(at)
                unreached[host] = NoPeers(f"nobody answers at {where}: is a node running there, on that port?")
        if not event.contacted:
            raise NoPeers(str(_all_of(unreached, hosts)))
        return {
            "contacted": len(hosts) - len(unreached),
            "failed": len(unreached),
            "table_size": len(self._node.overlays.contacts()),
            "unreached": [
                {"endpoint": _given(*host), "code": error.code, "message": str(error)}
                for host, error in unreached.items()
            ],
        }

    async def _look_up(
        self, hosts: Iterable[HostPort]
    ) -> tuple[dict[HostPort, list[Endpoint]], dict[HostPort, DhtdError]]:
        """Look up hosts, all at once; return their endpoints, and why others have none to ask."""
        found: dict[HostPort, list[Endpoint]] = {}
        unreached: dict[HostPort, DhtdError] = {}

        async def look_up(host: HostPort) -> None:
            try:
                endpoints = await resolve(host, self._driver.udp)
            except (UnresolvableHost, InvalidEndpoint) as error:
                unreached[host] = error
                return
            others = [endpoint for endpoint in endpoints if not self.is_ours(endpoint)]
            if others:
                found[host] = others
            else:
                unreached[host] = NoPeers(f"{self.texts(endpoints)} is this node itself: name another one")

        async with trio.open_nursery() as nursery:
            for host in hosts:
                nursery.start_soon(look_up, host)
        return found, unreached


def _given(host: str, port: int) -> str:
    """Return an endpoint as the user wrote it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _all_of(unreached: Mapping[HostPort, DhtdError], hosts: Iterable[HostPort]) -> DhtdError:
    """Return all failures as one error of the first one's class, in the order of the hosts."""
    errors = [unreached[host] for host in hosts if host in unreached]
    return type(errors[0])("; ".join(dict.fromkeys(map(str, errors))))
