"""Where other nodes see this one, and whether strangers reach it there: the steps address and reach."""

from __future__ import annotations

from collections.abc import Iterator

from dhtd.core.address.reachability import Reach
from dhtd.core.endpoint import Endpoint
from dhtd.core.serving.gate import Serves
from dhtd.daemon.doctor.finding import Finding, good, note
from dhtd.daemon.doctor.machine import Machine
from dhtd.daemon.driver import Driver

_REACH = {
    Reach.PUBLIC: "nodes to which this one has not written reach it from outside",
    Reach.PRIVATE: "nodes to which this one has not written reach it from private networks",
    Reach.UNKNOWN: "only nodes to which this one has written have reached it so far",
}
_SERVES = {
    Serves.ALL: "",
    Serves.CONTACTS: "; it is read-only, and answers its contacts alone",
    Serves.NOBODY: "; it is read-only, and answers nobody",
}


class AddressSteps:
    """Looks at the addresses of one node. Nothing here is a fault by itself: many nodes live well behind a NAT."""

    def __init__(self, driver: Driver, machine: Machine) -> None:
        self._driver = driver
        self._node = driver.node
        self._machine = machine

    def steps(self) -> Iterator[Finding]:
        """Yield what is found."""
        seen = self._node.external.endpoints()
        if not seen:
            yield note("address", "too few other nodes have told at which address they see this one")
        for endpoint in seen:
            yield self._at(endpoint)
        reach = self._node.outside.reach(self._driver.clock())
        said = _REACH[reach] + _SERVES[self._node.gate.serves]
        yield good("reach", said) if reach is not Reach.UNKNOWN else note("reach", said)

    def is_behind_nat(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint, which others see, is none of this machine."""
        zone = self._driver.udp.zones.of(endpoint)
        return not self._machine.has(endpoint, zone) and not self._driver.udp.is_ours(endpoint)

    def _at(self, endpoint: Endpoint) -> Finding:
        text = self._driver.udp.zones.text(endpoint)
        ports = sorted({bound.port for bound in self._driver.udp.listening()})
        if self.is_behind_nat(endpoint):
            router = "a router or a container between rewrites it (NAT)"
            return note("address", f"other nodes see this one at {text}, which is no address of this machine: {router}")
        if endpoint.port not in ports:
            own = ", ".join(map(str, ports))
            return note("address", f"other nodes see this one at {text}: something rewrites its port, which is {own}")
        return good("address", f"other nodes see this one at {text}")
