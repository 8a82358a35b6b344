"""The addresses of ours by which holders know an own entry. It can be withdrawn from the same address alone.

A holder keeps the address that a store came from. After a move of this machine, the withdrawal comes from another one.
Then the holder drops an entry that it does not have, and keeps the old one until it expires. We cannot change that, but
we can say what is left behind and until when.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import LeftBehind

_MOST: Final = 4  # addresses that are remembered of one holder, which may tell us anything

Seen = tuple[tuple[bytes, float], ...]  # IP addresses of ours that a holder saw, and until when; the latest last


class Sightings:
    """The addresses that the stores of one own entry came from, as its holders saw them."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: dict[Endpoint, dict[bytes, float]] = {}  # by holder and IP address: when its copy expires

    def __len__(self) -> int:
        """How many holders have told what they saw."""
        return len(self._until)

    def of(self, holder: Endpoint) -> Seen:
        """Return what a holder saw, in the form that is kept on disk."""
        return tuple(self._until.get(holder, {}).items())

    def restore(self, holder: Endpoint, seen: Seen, until: float, now: float) -> None:
        """Put back what `of` has returned. No copy is kept beyond `until`, and the latest is kept until then.

        The disk has each address since it became the latest one. Later stores from the same address have moved `until`
        alone.
        """
        live = {ip: min(then, until) for ip, then in seen[-_MOST:-1] if then > now}
        if seen:
            live.pop(seen[-1][0], None)
            self._until[holder] = {**live, seen[-1][0]: until}

    def add(self, holder: Endpoint, observed: Endpoint, until: float) -> bool:
        """A holder has taken the entry from this address; return whether the store before came from another one."""
        seen = self._until.setdefault(holder, {})
        is_news = next(reversed(seen), None) != observed.ip
        seen.pop(observed.ip, None)
        seen[observed.ip] = until
        if len(seen) > _MOST:
            del seen[next(iter(seen))]
        return is_news

    def forget(self, holder: Endpoint) -> None:
        """Forget what a holder saw."""
        self._until.pop(holder, None)

    def forget_expired(self, now: float) -> None:
        """Forget the copies that have expired."""
        for holder, seen in list(self._until.items()):
            live = {ip: until for ip, until in seen.items() if until > now}
            if live:
                self._until[holder] = live
            else:
                del self._until[holder]

    def left_behind(self, port: int, withdrawn_as: Mapping[Endpoint, bytes], now: float) -> Iterator[LeftBehind]:
        """Yield what a withdrawal leaves. `withdrawn_as` has the IP address that each holder saw it come from.

        For a holder that has not answered, the addresses that the others saw count.
        """
        ours = set(withdrawn_as.values())
        for holder, seen in self._until.items():
            there = {withdrawn_as[holder]} if holder in withdrawn_as else ours
            there = {ip for ip in there if len(ip) == len(holder.ip)}
            for ip, until in seen.items():
                if there and ip not in there and until > now:
                    yield LeftBehind(Endpoint(ip + port.to_bytes(2, "big")), until)
