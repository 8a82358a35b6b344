"""Opens sealed datagrams for the driver. It counts those that do not open, and logs a wrong clock."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from dhtd.core.endpoint import Endpoint
from dhtd.daemon.defects import Defects
from dhtd.daemon.sockets.channel import Datagram, UdpCounters

if TYPE_CHECKING:
    from dhtd.wire.sealed import OutOfTime, Refusal, Seal  # imports libsodium: only for a node with a key

log = logging.getLogger("dhtd.node")

STRANGERS_MAX: Final = 32
COMPLAIN_INTERVAL: Final = 600.0  # seconds between messages about clocks: a stranger's replay can cause one


class Unsealing:
    def __init__(self, counters: UdpCounters, clock: Callable[[], float], defects: Defects) -> None:
        self._counters = counters
        self._clock = clock
        self._defects = defects
        self._complain_at = float("-inf")
        self.strangers: dict[Endpoint, float] = {}  # the latest senders of what no key opens, and when
        self.ahead: float | None = None  # seconds by which the latest query out of time was ahead of our clock

    def open_batch(
        self, seal: Seal, batch: Sequence[Datagram], sources: Mapping[Hashable, Endpoint], wall: float
    ) -> list[Datagram]:
        """Return the contents of the datagrams that open. `wall`: seconds since the epoch."""
        opened = []
        for sealed, address in batch:
            try:
                data = seal.open(sealed, wall)
            except Exception:  # noqa: BLE001 - noted
                self._defects.note("a datagram from %s could not be opened", sources[address])
                continue
            if type(data) is bytes:
                opened.append((data, address))
            else:
                assert not isinstance(data, bytes)
                self._refused(data, sources[address])
        return opened

    def _refused(self, why: Refusal | OutOfTime, source: Endpoint) -> None:
        counters = self._counters
        if isinstance(why, tuple):
            counters.out_of_time += 1
            self.ahead = why.ahead
            self._complain(why.ahead, source)
        else:
            setattr(counters, why.value, getattr(counters, why.value) + 1)
            if why.value == "unopened":
                self._note_stranger(source)

    def _note_stranger(self, source: Endpoint) -> None:
        self.strangers.pop(source, None)
        self.strangers[source] = self._clock()
        if len(self.strangers) > STRANGERS_MAX:
            del self.strangers[next(iter(self.strangers))]

    def _complain(self, ahead: float, source: Endpoint) -> None:
        now = self._clock()
        if now >= self._complain_at:
            self._complain_at = now + COMPLAIN_INTERVAL
            log.warning(
                "a query from %s was sealed %s by our clock, and is not answered: set the clock there or here (unless"
                " somebody sends again what was caught)",
                source,
                difference(ahead),
            )


def difference(ahead: float) -> str:
    """Return a time difference in words, for example `2 h 5 min ahead`."""
    minutes = round(abs(ahead) / 60)
    days, hours = divmod(minutes // 60, 24)
    parts = [(days, "d"), (hours, "h"), (minutes % 60, "min")]
    return f"{' '.join(f'{number} {unit}' for number, unit in parts if number)} {'ahead' if ahead > 0 else 'ago'}"
