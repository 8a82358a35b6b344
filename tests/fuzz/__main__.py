"""Coverage-guided fuzzing: inputs that reach new code are kept and changed further, until something breaks or time is
up.

Run it with `python3 dev.py fuzz`, which installs atheris. The module of a target tells its inputs and its checks.
Everything that a run has learnt stays in .fuzz/TARGET, and the next one begins with it. On a finding it stops with
status 1 and names the file; `--replay NAME` shows it without atheris, in a debugger if you like. A finding becomes a
line of tests/fuzz/findings/TARGET.hex, with a comment about it, and every run of the tests tries it from then on.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import logging
import re
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import Final

from tests.bench import hostile
from tests.fuzz.target import HERE, PLACE, Target
from tests.fuzz.targets import TARGETS

KEPT_SIZE: Final = 256  # bytes of the largest input that is committed
KEPT: Final = 40  # inputs
SLOW: Final = 30  # seconds for one input
FINALISTS: Final = 10  # inputs that are timed again
GRACE: Final = 120.0  # seconds for the input under way, and for libFuzzer to read its corpus


@dataclass(frozen=True)
class Outcome:
    """The result of a run."""

    runs: int
    features: int  # places and counts reached, as libFuzzer counts them
    corpus: int
    findings: list[Path]
    ended_well: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, or replay; return the exit status."""
    options = _parser().parse_args(arguments)
    targets = [TARGETS[name] for name in options.target or TARGETS]
    if options.replay is not None:
        return _replay(targets, options.replay)
    status = 0
    for target in targets:
        print(f"{target.name}: {target.summary}, for {options.minutes:g} minutes", flush=True)
        outcome = _fuzz(target, 60 * options.minutes)
        print(f"{target.name}: {outcome.runs} inputs, {outcome.features} features, {outcome.corpus} inputs kept")
        with _silenced():
            dearest = _dearest(target)
        print(f"{target.name}: {dearest}")
        for finding in outcome.findings:
            print(
                f"{target.name}: FOUND {finding}\n  show it: python3 dev.py fuzz {target.name} --replay {finding.name}"
            )
        if not outcome.ended_well or outcome.findings:
            print(f"{target.name}: see {_log(target)}")
            status = 1
        elif options.keep:
            print(f"{target.name}: {_keep(target)} inputs written to tests/fuzz/corpus")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "dev.py fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "target", nargs="*", choices=[*TARGETS, []], metavar="TARGET", help=", ".join(TARGETS) + " (all)"
    )
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N", help="for each target (10)")
    parser.add_argument("--replay", metavar="NAME", help="try one input: a finding's name, a path, or hex digits")
    parser.add_argument(
        "--keep", action="store_true", help="write the smallest inputs that reach the most to tests/fuzz/corpus"
    )
    return parser


def _fuzz(target: Target, seconds: float) -> Outcome:
    place = PLACE / target.name
    for name in ("corpus", "seeds", "findings"):
        (place / name).mkdir(parents=True, exist_ok=True)
    for data in target.corpus():
        (place / "seeds" / sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
    known = set((place / "findings").iterdir())
    # An input that is slow, though not too slow, is no finding: the machine may be busy.
    slow = [f"-timeout={SLOW}", f"-report_slow_units={SLOW}"]
    limits = [f"-max_total_time={max(1, round(seconds))}", *slow, "-rss_limit_mb=2048", "-print_final_stats=1"]
    outputs = [f"-artifact_prefix={place / 'findings'}/", str(place / "corpus"), str(place / "seeds")]
    status = _guided(target, [*limits, *outputs], seconds + GRACE)
    said = _log(target).read_text(encoding="utf-8", errors="replace")
    features = re.findall(r"^#\d+.* ft: (\d+)", said, re.MULTILINE)
    return Outcome(
        runs=int((re.findall(r"number_of_executed_units: (\d+)", said) or ["0"])[-1]),
        features=int((features or ["0"])[-1]),
        corpus=len(list((place / "corpus").iterdir())),
        findings=sorted(set((place / "findings").iterdir()) - known),
        ended_well=status == 0,
    )


def _guided(target: Target, options: Sequence[str], deadline: float) -> int:
    """Run atheris in a new process; return its exit status."""
    with _log(target).open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.guided", target.name, *options], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            return process.wait(deadline)
        except BaseException:  # a hang, or Ctrl-C
            process.kill()
            process.wait()
            raise


def _dearest(target: Target) -> str:
    """Return which of the inputs costs most, of the known ones and those that were kept.

    The cost is that of reading an input. Where a target does not tell reading and checking apart, it is that of both.
    """
    inputs = [*target.corpus(), *(path.read_bytes() for path in sorted((PLACE / target.name / "corpus").iterdir()))]
    if target.name == "datagram":
        dearest, pings = hostile.in_pings(data for _, data in hostile.dearest_of(inputs))
        return f"the dearest input costs {pings:.1f} pings: {dearest.hex()}"
    read = target.read or target.check
    # 1. Each input once: thousands of them take long. 2. The dearest ones again, since the machine may have been busy.
    tried = heapq.nlargest(FINALISTS, ((_time(read, data), data) for data in inputs))
    seconds, dearest = max((min(first, *(_time(read, data) for _ in range(4))), data) for first, data in tried)
    checked = "" if target.read else ", checks included"
    return f"the dearest input costs {1e6 * seconds:.0f} us{checked}: {dearest.hex()}"


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Log nothing: a daemon under test warns of its inputs."""
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _time(read: Callable[[bytes], None], data: bytes) -> float:
    began = time.thread_time()
    read(data)
    return time.thread_time() - began


def _log(target: Target) -> Path:
    return PLACE / target.name / "log"


def _keep(target: Target) -> int:
    """Write the smallest inputs of the corpus to the committed file; return their number."""
    place = PLACE / target.name
    shutil.rmtree(place / "merged", ignore_errors=True)
    (place / "merged").mkdir()
    status = _guided(target, ["-merge=1", *(str(place / name) for name in ("merged", "corpus", "seeds"))], 3_600)
    if status:
        sys.exit(f"{target.name}: merging failed, see {_log(target)}")
    known = {*target.seeds()}
    found = {path.read_bytes() for path in (place / "merged").iterdir()} - known
    smallest = sorted((data for data in found if len(data) <= KEPT_SIZE), key=lambda data: (-len(data), data))
    step = max(1, len(smallest) // KEPT)  # of every size some: the smallest alone reach little
    kept = sorted(smallest[::step][:KEPT], key=lambda data: (len(data), data))
    path = HERE / "corpus" / f"{target.name}.hex"
    path.write_text("".join(f"{data.hex()}\n" for data in kept if data), encoding="ascii")
    return len(kept)


def _replay(targets: Sequence[Target], name: str) -> int:
    """Try one input in this process; return 1 if it shows the finding."""
    for target in targets:
        for path in (Path(name), PLACE / target.name / "findings" / name, PLACE / target.name / "corpus" / name):
            if path.is_file():
                return _try(target, path.read_bytes())
    if re.fullmatch(r"([0-9a-fA-F]{2})*", name):
        return max(_try(target, bytes.fromhex(name)) for target in targets)
    print(f"fuzz: there is no finding {name} in {PLACE}, and it is no hex", file=sys.stderr)
    return 2


def _try(target: Target, data: bytes) -> int:
    print(f"{target.name}: {len(data)} bytes: {data.hex()}")
    try:
        target.check(data)
    except Exception:  # noqa: BLE001 - whatever was found
        traceback.print_exc()
        return 1
    print(f"{target.name}: nothing is wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
