"""What a soak has shown, and whether that is good."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from tests.soak.judge import GROWTH, Flatness

ASK_AGAIN: Final = 60.0  # seconds more for late results; their number is reported


@dataclass
class Result:
    """The result of a soak."""

    daemons: int
    elders: int
    minutes: float
    seed: int
    kills: int
    restarts: int
    counts: dict[str, int]
    entries: int  # acknowledged, and not deleted
    found_at_once: int
    found_later: int
    lost: list[str]
    deleted: int
    let_go_later: int
    kept: list[str] | None  # deleted entries with holders; None: too short a calm to judge
    deaths: int  # owners that were away for longer than a lease
    stale: list[str]  # entries of these that a holder had for longer
    missed: list[str]  # entries of owners that were up, and that an elder did not find
    updates: int  # of watches
    untrue: list[str]  # what watches told in the end, and was not so
    traces: list[str]  # the past of the kept entries, of their owners and of their holders
    flatness: list[Flatness]
    ended_by_themselves: int
    tracebacks: int
    defects: int
    surprises: dict[str, int]

    @property
    def is_good(self) -> bool:
        return (
            not self.lost
            and not self.kept
            and not self.stale
            and not self.missed
            and not self.untrue
            and not self.ended_by_themselves
            and not self.tracebacks
            and not self.defects
            and not self.surprises
            and all(each.is_flat is not False for each in self.flatness)
        )


def table(result: Result) -> str:
    """Return a table for people."""
    lines = [
        f"{result.daemons} daemons, {result.elders} of them elders, {result.minutes:g} minutes, seed {result.seed}",
        f"{result.kills} killed, {result.restarts} restarted",
        ", ".join(f"{many} {what}" for what, many in result.counts.items()),
        "",
        f"{'elders, medians':<20}{'1st third':>11}{'2nd third':>11}{'3rd third':>11}{'worst':>8}  {'allowed':<14}flat",
    ]
    for each in result.flatness:
        factor, offset = GROWTH[each.quantity]
        verdict = {True: "yes", False: "NO", None: "(too short)"}[each.is_flat]
        allowed = f"x {factor:g} + {offset}"
        lines.append(
            f"{each.quantity:<20}{each.first:>11.0f}{each.second:>11.0f}{each.last:>11.0f}{each.worst:>8.3f}"
            f"  {allowed:<14}{verdict}"
        )
    lines += [
        "",
        f"entries acknowledged and not deleted {result.entries}",
        f"found at once {result.found_at_once}, within {ASK_AGAIN:g} s {result.found_later}, lost {len(result.lost)}",
        f"deleted {result.deleted}, let go of within {ASK_AGAIN:g} s {result.let_go_later}, kept "
        + ("(too short)" if result.kept is None else str(len({entry.partition(" at ")[0] for entry in result.kept}))),
        f"owners away for a lease {result.deaths}, stale entries {len(result.stale)}, missed {len(result.missed)}",
        f"updates of watches {result.updates}, untrue in the end {len(result.untrue)}",
        f"ended by themselves {result.ended_by_themselves}, tracebacks {result.tracebacks}, defects {result.defects}",
        *(f"LOST {entry}" for entry in result.lost),
        *(f"KEPT {entry}" for entry in result.kept or ()),
        *(f"STALE {entry}" for entry in result.stale),
        *(f"MISSED {entry}" for entry in result.missed),
        *(f"UNTRUE {entry}" for entry in result.untrue),
        *result.traces,
        *(f"SURPRISE {what}: {many}" for what, many in result.surprises.items()),
        f"soak: {'passed' if result.is_good else 'FAILED'}",
    ]
    return "\n".join(lines)


def plain(result: Result) -> dict[str, Any]:
    return {**asdict(result), "passed": result.is_good}
