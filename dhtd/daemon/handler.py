"""Serves the methods of the table for one node: each request goes to the function that its method is paired with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dhtd.config.access_token import AccessToken
from dhtd.daemon.canary import Canary
from dhtd.daemon.doctor.machine import Machine
from dhtd.daemon.driver import Driver
from dhtd.daemon.guards.guards import Guards
from dhtd.daemon.handlers.doctor import Doctor
from dhtd.daemon.handlers.entries import Entries, LookAtPort, look_at_port
from dhtd.daemon.handlers.events import Happenings
from dhtd.daemon.handlers.health import Health
from dhtd.daemon.handlers.info import Inside
from dhtd.daemon.handlers.node import AboutNode
from dhtd.daemon.handlers.owner import ForOwner
from dhtd.daemon.handlers.queries import Queries
from dhtd.daemon.handlers.trace import Traces
from dhtd.daemon.handlers.values import Values
from dhtd.daemon.handlers.watch import Watches
from dhtd.daemon.own_entries import OwnEntries
from dhtd.daemon.own_values import OwnValues
from dhtd.daemon.report import NodeReport
from dhtd.daemon.state.saver import Saver
from dhtd.service.method import Caller, Emit, Request, Result


class Handler:
    """Serves requests for one node."""

    def __init__(
        self,
        driver: Driver,
        saver: Saver,
        guards: Guards,
        report: NodeReport,
        look_at_port: LookAtPort = look_at_port,
        token: AccessToken | None = None,
        *,
        hosts: Callable[[], Sequence[str]] = tuple,  # through which the node is to join
        machine: Machine | None = None,
    ) -> None:
        self.canary = Canary(driver)
        values = OwnValues(driver, saver)
        subjects = (
            Entries(driver, OwnEntries(driver, saver, guards), values, report, look_at_port),
            Values(driver, values),
            Watches(driver),
            Queries(driver),
            Traces(driver),
            Happenings(driver),
            AboutNode(driver, report),
            Health(driver, self.canary),
            Doctor(driver, guards, report, self.canary, hosts, machine or Machine()),
            Inside(driver, guards, report),
            ForOwner(driver, saver, token),
        )
        self._serving = {call.method.request: call.serve for subject in subjects for call in subject.calls()}

    async def __call__(self, request: Request, emit: Emit[Any], caller: Caller) -> Result:
        """Return the result of a request; raise a `DhtdError` that says why there is none."""
        return await self._serving[type(request)](request, emit, caller)
