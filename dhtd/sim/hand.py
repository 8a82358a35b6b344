"""What a person does to a run that goes on: machines are killed and come, and keys are looked up.

The draws are the hand's own. What follows from them is the run's: it goes on from where it then is.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from dhtd.core.ids import Id
from dhtd.errors import Busy
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.population import Population
from dhtd.sim.questions import Entry, Phase, Questions

KILLED = "is killed by hand"
AT_ONCE = 128  # lookups of one node by hand: half of what a node takes, so there is room for those of the plan


class Hand:
    """The machines and entries of a run, within reach."""

    def __init__(
        self,
        net: Network,
        population: Population,
        questions: Questions,
        end: Callable[[Host, str], None],
        plan_end: Callable[[Host], None],
        phase: Callable[[], Phase],
    ) -> None:
        """`end` stops a machine for good; `plan_end` draws when one goes that has come."""
        self._net = net
        self._population = population
        self._questions = questions
        self._end = end
        self._plan_end = plan_end
        self._phase = phase
        self._rng = Random(f"hand {net.seed}")

    def can_kill(self, host: Host) -> bool:
        """Whether an honest machine is left that anybody can reach, so that the run can go on."""
        live = self._population.live
        return any(other is not host and other.lie is None and other.nat is None for other in live)

    def kill(self, host: Host) -> None:
        """Stop a machine at once, and for good. No other comes in its place."""
        self._end(host, KILLED)

    def victims(self, share: float) -> list[Host]:
        """Draw this part of the machines that are up, at least one. Nobody checks whether any is left."""
        live = self._population.live
        return self._rng.sample(live, max(1, min(len(live), round(share * len(live)))))

    def add(self) -> Host:
        """Bring a machine up, to join by some that are there."""
        host = self._population.arrive()
        if self._phase() is not Phase.JOINING:  # else it is planned for all machines once the network stands
            self._plan_end(host)
        return host

    def draw_host(self) -> Host:
        """Draw a machine that is up."""
        return self._rng.choice(self._population.live)

    def draw_entry(self) -> Entry | None:
        """Draw an entry that some node holds, of a machine that is up."""
        acknowledged = self._questions.acknowledged()
        return self._rng.choice(acknowledged) if acknowledged else None

    def look_up(self, host: Host, key: Id) -> None:
        """Let a machine look up a key. Its steps are told. Raise `Busy` if its node is at its limit."""
        if self._questions.wanted_of(host) >= AT_ONCE:
            raise Busy(f"a node does {AT_ONCE} lookups at once by hand: let time pass, and try again")
        entries = [entry for entry in self._questions.acknowledged() if entry.key == key]
        if entries:
            self._questions.ask(host, self._rng.choice(entries), self._phase(), is_wanted=True)
        else:
            self._questions.ask_anything(host, key)
