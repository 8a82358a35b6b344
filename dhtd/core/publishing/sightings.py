"""By which of our addresses each holder knows an own entry: it can be withdrawn from that address alone.

A holder keeps the address that a store came from. When we have moved, the withdrawal comes from another one, so that
the holder lets go of an entry that it does not have, and the old one stays until it expires. We cannot change that,
but we can say what is left and for how long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import LeftBehind

_MOST: Final = 4  # addresses that are remembered of one holder: it may tell us anything

Seen = tuple[tuple[bytes, float], ...]  # IP addresses that a holder has seen, and until when; the latest last


class Sightings:
    """The addresses that a store of one own entry came from, as its holders have seen it."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: dict[Endpoint, dict[bytes, float]] = {}  # by holder and IP address: when its copy expires

    def __len__(self) -> int:
        """How many holders have told."""
        return len(self._until)

    def of(self, holder: Endpoint) -> Seen:
        """Return what is known of a holder, for whoever keeps it on disk."""
        return tuple(self._until.get(holder, {}).items())

    def restore(self, holder: Endpoint, seen: Seen, until: float, now: float) -> None:
        """Put back what `of` has returned. No copy is kept beyond `until`, and the latest is kept until then.

        The latest address is on disk since it was the latest. Stores that came from it later have moved `until` alone.
        """
        live = {ip: min(then, until) for ip, then in seen[-_MOST:-1] if then > now}
        if seen:
            live.pop(seen[-1][0], None)
            self._until[holder] = {**live, seen[-1][0]: until}

    def add(self, holder: Endpoint, observed: Endpoint, until: float) -> bool:
        """A holder has taken the entry, from this address; return whether the one before came from another."""
        seen = self._until.setdefault(holder, {})
        is_news = next(reversed(seen), None) != observed.ip
        seen.pop(observed.ip, None)
        seen[observed.ip] = until
        if len(seen) > _MOST:
            del seen[next(iter(seen))]
        return is_news

    def forget(self, holder: Endpoint) -> None:
        """A holder is forgotten."""
        self._until.pop(holder, None)

    def forget_expired(self, now: float) -> None:
        """Forget what the holders have forgotten by now."""
        for holder, seen in list(self._until.items()):
            live = {ip: until for ip, until in seen.items() if until > now}
            if live:
                self._until[holder] = live
            else:
                del self._until[holder]

    def left_behind(self, port: int, withdrawn_as: Mapping[Endpoint, bytes], now: float) -> Iterator[LeftBehind]:
        """Yield what a withdrawal leaves, which each of these holders has seen come from an IP address.

        Of a holder that has not answered, the others tell from where we would reach it.
        """
        ours = set(withdrawn_as.values())
        for holder, seen in self._until.items():
            there = {withdrawn_as[holder]} if holder in withdrawn_as else ours
            there = {ip for ip in there if len(ip) == len(holder.ip)}
            for ip, until in seen.items():
                if there and ip not in there and until > now:
                    yield LeftBehind(Endpoint(ip + port.to_bytes(2, "big")), until)
