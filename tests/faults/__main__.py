"""How many faults the tests catch: those of the ancestor, and mutants of the core and the wire.

Run it with `python3 dev.py faults`. One fault at a time goes into a copy of the code in a temporary directory. There
the tests of the core, the wire and the simulations run until one fails, beginning with those named after the faulty
file. The status is 1 if a fault of the ancestor survives, if fewer than 95 % of the mutants are caught, or if a mutant
survives that harmless.toml does not explain.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from tests.faults import ancestor, harmless
from tests.faults.checkout import ROOT, Checkout, Outcome, RunError, Verdict
from tests.faults.fault import DoesNotApplyError, Fault, Place, seed
from tests.faults.mutants import Mutant, all_mutants

SHARE: Final = 0.95  # of the mutants is to be caught


def main(arguments: Sequence[str] | None = None) -> int:
    """Seed faults, judge them, report; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        known = {place: entry.reason for entry in harmless.load() for place in entry.places()}
        ancestors = [seed(ROOT, name, changes) for name, changes in ancestor.FAULTS.items()]
        mutants = all_mutants(ROOT, options.only)
        chosen = draw(mutants, len(mutants) if options.all else options.sample, options.seed)
        if options.survivors:
            chosen = [fault for mutant in mutants if mutant.place in known and (fault := mutant.fault(ROOT))]
        faults = ([] if options.only or options.survivors else ancestors) + chosen
        print(f"{len(mutants)} mutants, of which {len(chosen)}, and {len(faults) - len(chosen)} faults of the ancestor")
        with tempfile.TemporaryDirectory(prefix="dhtd-faults-") as place:
            verdicts = dict(judge(faults, Path(place), options.jobs))
    except (DoesNotApplyError, RunError) as error:
        print(f"faults: {error}", file=sys.stderr)
        return 2
    return report(verdicts, known)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dev.py faults", description="Seed faults, and count those that the tests catch.")
    parser.add_argument("--sample", type=int, default=120, metavar="N", help="how many mutants are drawn (120)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="another seed draws others (1)")
    parser.add_argument("--all", action="store_true", help="every mutant: this takes hours")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PART",
        help="mutants of files with this in their path, alone; also of the client and the daemon",
    )
    parser.add_argument("--survivors", action="store_true", help="the mutants that harmless.toml explains, alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="J", help="how many at once (each core)")
    return parser


def draw(mutants: Sequence[Mutant], count: int, seed: int, root: Path = ROOT) -> list[Fault]:
    """Return the faults of `count` mutants, drawn by lot, in the order of the code.

    The lot is in a mutant's place: a change of the code puts none into the sample but those that it makes itself,
    and a larger sample holds the smaller one.
    """
    lots = {mutant: sha256(f"{seed} {mutant.place}".encode()).digest() for mutant in mutants}
    drawn: dict[Mutant, Fault] = {}
    for mutant in sorted(mutants, key=lambda mutant: lots[mutant]):
        if len(drawn) == count:
            break
        fault = mutant.fault(root)
        if fault is not None:
            drawn[mutant] = fault
    return [drawn[mutant] for mutant in mutants if mutant in drawn]


def judge(faults: Iterable[Fault], place: Path, jobs: int, root: Path = ROOT) -> Iterator[tuple[Fault, Verdict]]:
    """Yield the fate of each fault, and print it, as soon as it is known."""
    faults = list(faults)
    checkouts: SimpleQueue[Checkout] = SimpleQueue()
    for job in range(jobs):
        checkouts.put(Checkout(root, place / f"checkout{job}", place / "times"))
    checkout = checkouts.get()
    print(f"without a fault: {checkout.check({path: None for fault in faults for path in fault.texts}).seconds:.0f} s")
    checkouts.put(checkout)

    def work(fault: Fault) -> Verdict:
        mine = checkouts.get()
        try:
            return mine.judge(fault)
        finally:
            checkouts.put(mine)

    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(work, fault): fault for fault in faults}
        try:
            for number, future in enumerate(as_completed(futures), 1):
                fault, verdict = futures[future], future.result()
                line = f"{number}/{len(faults)} {verdict.outcome.value} in {verdict.seconds:.0f} s: {fault.name}"
                print(line, f"\n    by {verdict.by}" if verdict.by else "", sep="", flush=True)
                yield fault, verdict
        finally:
            pool.shutdown(cancel_futures=True)


def report(verdicts: dict[Fault, Verdict], known: dict[Place, str]) -> int:
    """Print tables of the verdicts and the survivors with their reasons; return the exit status."""
    ancestors = {fault.name: verdict.outcome for fault, verdict in verdicts.items() if fault.place is None}
    mutants = {fault.place: verdict.outcome for fault, verdict in verdicts.items() if fault.place is not None}
    _print_table("faults of the ancestor", Counter(ancestors.values()), {})
    by_path = {
        path: Counter(outcome for place, outcome in mutants.items() if place.path == path)
        for path in sorted({place.path for place in mutants})
    }
    _print_table("mutants", Counter(mutants.values()), by_path)
    survivors = [place for place, outcome in mutants.items() if outcome is Outcome.SURVIVED]
    for place in survivors:
        print(f"\nsurvived: {place}\n    {known.get(place, 'UNEXPLAINED')}")
    for place in (place for place, outcome in mutants.items() if outcome is not Outcome.SURVIVED and place in known):
        print(f"\ncaught, though harmless.toml has a reason why not: {place}")
    lost = [name for name, outcome in ancestors.items() if outcome is Outcome.SURVIVED]
    for name in lost:
        print(f"\nsurvived, a fault of the ancestor: {name}")
    unexplained = [place for place in survivors if place not in known]
    enough = len(survivors) <= (1 - SHARE) * len(mutants)
    return 1 if lost or unexplained or not enough else 0


def _print_table(title: str, total: Counter[Outcome], rows: dict[str, Counter[Outcome]]) -> None:
    width = max(map(len, (title, *rows, "in all")))
    print("", "  ".join([title.ljust(width), "seeded", *(outcome.value for outcome in Outcome), "share"]), sep="\n")
    for name, counts in (*rows.items(), ("in all", total)):
        seeded = counts.total()
        share = 1 - counts[Outcome.SURVIVED] / seeded if seeded else 1.0
        figures = [f"{counts[outcome]:{len(outcome.value)}}" for outcome in Outcome]
        print("  ".join([name.ljust(width), f"{seeded:6}", *figures, f"{share:5.0%}"]))


if __name__ == "__main__":
    sys.exit(main())
