"""An eclipse: attackers from a few networks take all the places nearest to each key of a run.

The attackers of a key have more IDs than there are places, in as many networks of their own as the plan says. They join
as any node does, and stay. Each attacker names only its accomplices, claims to hold what it is given, and serves
nothing.
"""

from __future__ import annotations

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import Id
from dhtd.sim.host import Host
from dhtd.sim.liars import Conspirator
from dhtd.sim.network import Network

EACH = 2  # attackers in a network: as many as a lookup has places for
_FEWEST = 16  # attackers of a key at least: in fewer networks, each has more IDs
_KNOWN = 3  # nodes that an attacker joins by
_PORT = (1_729).to_bytes(2, "big")


class Eclipse:
    """The attackers of all keys of one run."""

    def __init__(self, net: Network, networks: int, *, closest: bool, site: bool) -> None:
        self._net = net
        self._networks = networks
        self._closest = closest
        self._site = site
        self._gangs = 0

    @property
    def attackers(self) -> int:
        """How many attackers each key has."""
        return max(_FEWEST, EACH * self._networks)

    def attack(self, key: Id) -> None:
        """Bring the attackers of a key up."""
        net = self._net
        gang: list[Host] = []
        self._gangs += 1
        honest = net.census.closest(key, 1)[0].id ^ key
        families = (Family.IPV6,) if self._site else (Family.IPV4,)
        for number in range(self.attackers):
            distance = self._distance(honest)
            known = [net.census[net.rng.randrange(len(net.census))] for _ in range(_KNOWN)]
            endpoint = self._endpoint(number % self._networks, 1 + number // self._networks)
            host = net.add(
                id=Id(key ^ distance), endpoint=endpoint, bootstrap=known, lie=Conspirator(gang), families=families
            )
            net.note("comes up, to hide a key with its accomplices", host)
            gang.append(host)

    def _distance(self, honest: int) -> int:
        """Return how far from the key an attacker is: far nearer than the nearest honest node, or a little nearer."""
        rng, bits = self._net.rng, self._net.codec.traits.keyspace.bits
        if self._closest:
            # Even nearer IDs would not change a lookup, and the attackers would refresh one bucket more for each bit.
            return rng.getrandbits(bits - rng.randrange(bits // 10, bits // 6))
        return honest - 1 - rng.randrange(1 + honest // 2)

    def _endpoint(self, network: int, host: int) -> Endpoint:
        """Return an endpoint in a network that belongs to the attackers of this key alone."""
        if self._site:
            site = b"\x2a" + self._gangs.to_bytes(5, "big")
            return Endpoint(site + network.to_bytes(2, "big") + host.to_bytes(8, "big") + _PORT)
        place = (self._gangs - 1) * self._networks + network
        return Endpoint(bytes((16 + (place >> 16), place >> 8 & 255, place & 255, host)) + _PORT)
