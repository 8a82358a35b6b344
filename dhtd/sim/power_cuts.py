"""Machines that lose their power, and for how long lookups still find the entries that these machines served.

1. A machine with entries is cut off. It says nothing to anybody, and never comes back.
2. Once a second, some other machine looks up each of its entries.
3. An entry is gone when the last lookup that has found it ends. The run watches long enough to see an entry that stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Event, Handle, LookupDone
from dhtd.core.ids import Id
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.overlay import Member
from dhtd.sim.population import Population
from dhtd.sim.questions import LOOKUP_LIMIT, Questions
from dhtd.sim.report import Cut, percentile

WATCHED: Final = 150  # seconds after the cut, with a lookup in each: two and a half leases


class Remains:
    """An entry of a machine that was cut off."""

    __slots__ = ("cut_at", "endpoint", "found_for", "key")

    def __init__(self, key: Id, endpoint: Endpoint, cut_at: float) -> None:
        self.key = key
        self.endpoint = endpoint  # that lookups should not find any more
        self.cut_at = cut_at
        self.found_for = 0.0  # seconds from the cut to the end of the last lookup that has found it


class PowerCuts:
    """Cuts machines off, and looks their entries up."""

    def __init__(
        self, net: Network, population: Population, questions: Questions, end: Callable[[Host, str], None]
    ) -> None:
        """`end` ends a machine for good, and says how."""
        self._net = net
        self._population = population
        self._questions = questions
        self._end = end
        self._lookups: dict[tuple[Member, Handle], Remains] = {}
        self._remains: list[Remains] = []

    def __len__(self) -> int:
        """How many lookups are under way."""
        return len(self._lookups)

    def cut(self) -> None:
        """Cut off a machine that serves some entry, if there is one beside other honest ones."""
        net, population = self._net, self._population
        host = self._questions.draw_owner()
        if host is None or population.is_last_honest(host):
            return
        served = self._questions.served_by(host)
        self._end(host, "loses its power")
        # Others look for what it has served.
        for entry in served:
            left = Remains(entry.key, host.endpoint.with_port(entry.port), net.now)
            self._remains.append(left)
            for second in range(WATCHED):
                net.schedule.at(net.now + second, self._look_up, left)

    def abandon(self, host: Host) -> None:
        """Expect nothing more of what the host's node was asked."""
        self._lookups = {asked: left for asked, left in self._lookups.items() if asked[0] is not host.member}

    def heard(self, host: Host, event: Event) -> None:
        """Take what a node tells its owner."""
        if not isinstance(event, LookupDone):
            return
        left = self._lookups.pop((host.member, event.op), None)
        if left is not None and left.endpoint in event.endpoints:
            left.found_for = max(left.found_for, self._net.now - left.cut_at)

    def report(self) -> Cut:
        """Return for how long the entries were found."""
        found = [left.found_for for left in self._remains]
        if not found:
            return Cut(0, None, None)
        return Cut(len(found), round(percentile(found, 0.5), 6), round(max(found), 6))

    def _look_up(self, left: Remains) -> None:
        net, asker = self._net, self._population.draw_honest()
        net.note(f"looks {net.keyspace.format(left.key)} up, which nobody serves any more", asker)
        op = asker.member.commands.lookup(left.key, asker.clock(net.now))
        self._lookups[asker.member, op] = left
        net.schedule.at(net.now + LOOKUP_LIMIT, self._must_be_over, asker.member, op)
        net.flush(asker)

    def _must_be_over(self, member: Member, op: Handle) -> None:
        assert (member, op) not in self._lookups, f"a lookup has not ended within {LOOKUP_LIMIT:g} s"
